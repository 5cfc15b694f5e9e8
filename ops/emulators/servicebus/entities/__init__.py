"""What Service Bus means: messages, queues, topics, time. It knows no frame, link or socket."""

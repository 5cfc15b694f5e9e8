"""Programs that the broker's tests run in processes of their own, where they can be killed."""

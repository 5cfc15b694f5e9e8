// Names what Chainlit's page leaves without a name, for whoever hears the page and does not see it.
(() => {
  "use strict";

  const NAMES = {
    "#sidebar-trigger-button": "Conversations",
    "#search-chats-button": "Search conversations",
    "#new-chat-button": "New conversation",
    "#thread-options": "What to do with this conversation",
    "#upload-button": "Attach files",
    "#chat-submit": "Send",
    "#stop-button": "Stop",
    "#password ~ button": "Show the password",
    ".message-content .bg-card button": "Copy",
    ".absolute.bottom-4.justify-center > button": "To the newest",
  };

  // elements that are something else than they say, and what they are
  const ROLES = {
    "#thread-options": "button",
    "#upload-button": "button",
    "ul:has(> #thread-history)": "none",
  };

  const set = (attribute, values) => {
    for (const [selector, value] of Object.entries(values)) {
      for (const each of document.querySelectorAll(selector)) {
        if (each.getAttribute(attribute) !== value) each.setAttribute(attribute, value);
      }
    }
  };

  const name = () => {
    set("aria-label", NAMES);
    set("role", ROLES);
  };

  new MutationObserver(name).observe(document, { childList: true, subtree: true });
  name();
})();

// How a part that is drawn anew takes the place of what is there: element by element, so that whoever has the
// focus keeps it, a press of a button hits the button that was aimed at, and what was opened stays open.
(() => {
  "use strict";

  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) =>
    name !== "open" || element.localName !== "details";

  const furthest = (values) => Math.max(0, ...values.map(Number));

  // a look that was asked for before more spans were drawn would take them away; the next one has them
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, requestConfig } = event.detail;
    if (target.id !== "event" || requestConfig.elt !== target) return;
    const drawn = Array.from(document.querySelectorAll("#spans [name=drawn]"), (each) => each.value);
    if (furthest(requestConfig.formData.getAll("drawn")) < furthest(drawn)) event.detail.shouldSwap = false;
  });
})();

// What is live on a page: a part that the server sends anew when it has changed.
"use strict";
for (const part of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(part.dataset.live);
  source.addEventListener("message", (event) => { part.innerHTML = event.data; });
  source.addEventListener("over", () => { source.close(); });
}

// Asks for this same address again (the filter is part of it) and replaces the parts that have changed.
// What a person holds stays: the scroll position, opened details, a selection of text.
"use strict";
(() => {
  const seconds = Number(document.body.dataset.refresh);
  if (!seconds) return;
  const light = document.getElementById("live");

  const held = () => document.hidden || !(getSelection()?.isCollapsed ?? true);

  const replace = (fresh) => {
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (!next) return location.reload();
      for (const opened of part.querySelectorAll("details[id][open]")) {
        next.querySelector(`#${opened.id}`)?.setAttribute("open", "");
      }
      if (next.outerHTML !== part.outerHTML) part.replaceWith(document.adoptNode(next));
    }
    document.title = fresh.title;
  };

  const ask = async () => {
    if (held()) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      light.className = "live on";
      light.textContent = "live";
    } catch {
      light.className = "live off";
      light.textContent = "no answer from the node";
    }
  };

  light.className = "live on";
  light.textContent = "live";
  setInterval(ask, seconds * 1000);
  document.addEventListener("visibilitychange", ask);
})();

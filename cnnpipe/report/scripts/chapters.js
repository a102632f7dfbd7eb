"use strict";

/**
 * The page's chapters, of which one is shown at a time, and the search over all of them.
 *
 * An address such as #claim-pooling opens the chapter that it lies in. The style sheet hides closed chapters only where
 * scripts run, so that without them the page is one column.
 */
(() => {
  const chapters = [...document.querySelectorAll(".chapter-page")];
  let followed = ""; // the anchor that was opened last
  const top = document.querySelector(".top");

  /** Every heading gets an address, so that the search can lead to it. */
  function nameHeadings() {
    for (const heading of document.querySelectorAll("main h3:not([id])")) {
      const name = `${heading.closest("section").id}-${heading.textContent.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
      if (!document.getElementById(name)) heading.id = name;
    }
  }

  function show(chapter) {
    if (chapter.classList.contains("open")) return;
    for (const each of chapters) each.classList.toggle("open", each === chapter);
    markCurrent(top, `#${chapter.id}`);
    window.dispatchEvent(new Event("resize")); // what was hidden had no size to draw at
  }

  function markCurrent(links, address) {
    for (const link of links.querySelectorAll("nav a")) {
      if (link.hash === address) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
    }
  }

  /** The anchor in the address. What follows a "?" is what the page's state is kept in (state.js). */
  function anchor() {
    const written = location.hash.slice(1).split("?")[0];
    try {
      return decodeURIComponent(written);
    } catch {
      return written; // a lone "%", which is no anchor of the page
    }
  }

  /** Open what the address names. */
  function follow() {
    const name = anchor();
    if (name === followed) return;
    followed = name;
    const target = name === "" ? chapters[0] : document.getElementById(name);
    const chapter = target?.closest(".chapter-page");
    if (!chapter) return;
    show(chapter);
    for (let folded = target.closest("details"); folded; folded = folded.parentElement.closest("details")) {
      folded.open = true;
    }
    if (target === chapter) window.scrollTo(0, 0);
    else target.scrollIntoView();
  }

  /** The rail marks the section that is being read. */
  function watchSections() {
    const observer = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (isIntersecting) markCurrent(target.closest(".chapter-page"), `#${target.id}`);
        }
      },
      { rootMargin: "-25% 0px -74% 0px" },
    );
    for (const section of document.querySelectorAll("main section")) observer.observe(section);
  }

  nameHeadings();
  markCurrent(top, `#${chapters[0].id}`);
  watchSections();
  window.addEventListener("hashchange", follow);
  follow();
})();

/** Search over headings and claims. */
(() => {
  const MOST = 8; // results
  const root = document.querySelector(".search");
  const field = root.querySelector("input");
  const list = root.querySelector("ul");
  let entries = null;

  /** What can be found: its text, the chapter, and the address of the nearest element before it that has one. */
  function read() {
    let address = "";
    const found = [];
    for (const element of document.querySelectorAll("main :is(section, h2, h3, .claim, figcaption strong, dt[id])")) {
      if (element.id && !element.id.endsWith("-title")) address = element.id;
      if (element.matches("section, .chapter-title")) continue;
      const chapter = element.closest(".chapter-page").ariaLabel;
      found.push({ text: element.textContent.trim(), address, chapter });
    }
    return found;
  }

  function search() {
    entries ??= read();
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = ({ text }) => words.every((word) => text.toLowerCase().includes(word));
    const found = words.length ? entries.filter(fits).slice(0, MOST) : [];
    list.replaceChildren(...found.map(result));
    if (words.length && !found.length) list.append(item("Nothing found"));
    list.hidden = !words.length;
  }

  function result({ text, address, chapter }) {
    const link = document.createElement("a");
    link.href = `#${address}`;
    const place = document.createElement("small");
    place.textContent = chapter;
    link.append(text, place);
    return item(link);
  }

  function item(content) {
    const element = document.createElement("li");
    element.append(content);
    return element;
  }

  function close() {
    list.hidden = true;
  }

  field.addEventListener("input", search);
  field.addEventListener("focus", search);
  list.addEventListener("click", close);
  root.addEventListener("focusout", (event) => {
    if (!root.contains(event.relatedTarget)) close();
  });
  root.addEventListener("keydown", (event) => {
    const links = [...list.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" && at < 0) links[0]?.click();
    else if (event.key === "Escape") close();
    else if (step) (links[at + step] ?? field).focus();
    else return;
    event.preventDefault();
  });
  root.hidden = false;
})();

// Elements, numbers and words. Text goes in as text only: titles are never read as HTML.

/** An element with attributes (functions are listeners, `class` and `text` as named) and children. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key === "class") element.className = value;
    else if (key === "text") element.textContent = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A share of the parent's width; styles are set by script, which the page's policy allows. */
export function bar(share, kind = "") {
  const element = make("span", { class: `bar ${kind}`, "aria-hidden": "true" });
  element.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return element;
}

export const byId = (id) => document.getElementById(id);

export function percent(p) {
  if (p === null || p === undefined) return "";
  if (p >= 0.0995) return `${(p * 100).toFixed(1)}%`;
  if (p >= 0.0001) return `${(p * 100).toFixed(2)}%`;
  return p > 0 ? "<0.01%" : "0%";
}

export const number = (value) => value.toLocaleString("en");
export const count = (value, word) => `${number(value)} ${word}${value === 1 ? "" : "s"}`;
export const titled = (item) => item.title || `item ${item.id}`;
export const coded = (codes) => codes.join("·");

/** What marks the items of a prefix: 'Crime, Drama · 1990s'. */
export function meaning(prefix) {
  const names = (marks, most) =>
    marks
      .slice(0, most)
      .map((mark) => mark.name)
      .join(", ");
  return [names(prefix.categories, 2), names(prefix.decades, 1)].filter(Boolean).join(" · ");
}

/** The same with shares: 'Crime 48% (2.5 times the catalogue), …'. */
export function meaningInFull(prefix) {
  const said = [...prefix.categories, ...prefix.decades].map(
    (mark) => `${mark.name} ${Math.round(mark.share * 100)}% (×${mark.lift.toFixed(1)})`,
  );
  return said.join(", ");
}

/** Calls a function when there was no other call for so many milliseconds. */
export function settled(milliseconds, call) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), milliseconds);
  };
}

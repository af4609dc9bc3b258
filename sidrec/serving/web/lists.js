// The final list with "why this?", and what other systems recommend after the same history.
import { bar, byId, coded, make, percent, titled } from "./dom.js";
import * as names from "./names.js";
import { change, state } from "./state.js";

const panel = byId("lists");
let opened = null; // id of the result that is explained
let exact = true; // whether what items add is of p itself, and not but for what results share

export function draw(explanation, others, isExact) {
  exact = isExact;
  panel.replaceChildren(
    ours(explanation, others),
    make(
      "div",
      { class: "others" },
      ...(others ? others.systems : []).map((system) => theirs(system, explanation)),
    ),
  );
}

function ours(explanation, others) {
  const { items } = explanation.answer;
  return make(
    "section",
    { class: "ours", "aria-label": "sidrec" },
    make("h3", { text: "sidrec" }),
    items.length ? null : make("p", { class: "none", text: "No item is allowed." }),
    make(
      "ol",
      { class: "results" },
      ...items.map((item, at) => result(item, at, explanation, others)),
    ),
  );
}

function result(item, at, explanation, others) {
  const id = String(item.id);
  const isOpen = opened === id;
  const value = item.probability === null ? item.score.toFixed(2) : percent(item.probability);
  const about = `why-${at}`;
  const redraw = () => {
    opened = isOpen ? null : id;
    draw(explanation, others);
    panel.querySelectorAll(".results > li")[at]?.querySelector(".why").focus();
  };
  return make(
    "li",
    { class: isOpen ? "open" : "" },
    make(
      "div",
      { class: "line" },
      make("span", { class: "rank", text: String(at + 1) }),
      make("button", {
        type: "button",
        class: "link",
        text: titled(item),
        click: () => change({ item: id }),
      }),
      make("span", { class: "p", text: value }),
      make("button", {
        type: "button",
        class: "code link",
        text: coded(item.semantic_id),
        "aria-label": `Walk to ${coded(item.semantic_id)}`,
        click: () => change({ prefix: item.semantic_id }),
      }),
      explanation.history.length && at < explanation.history[0].added.length
        ? make("button", {
            type: "button",
            class: "why",
            "aria-expanded": String(isOpen),
            "aria-controls": about,
            "aria-label": `Why ${titled(item)}?`,
            text: "Why?",
            click: redraw,
          })
        : null,
      make("button", {
        type: "button",
        class: "ban",
        "aria-label": `Keep out: ${titled(item)}`,
        title: "Keep out",
        text: "×",
        click: () => change({ banned: [...state.banned, id] }),
      }),
    ),
    make(
      "div",
      { id: about, class: "reasons", hidden: !isOpen },
      ...(isOpen ? reasons(at, explanation) : []),
    ),
  );
}

/** What each history item adds, the strongest first. */
function reasons(at, explanation) {
  const parts = explanation.history.map((item, place) => ({ item, place, added: item.added[at] }));
  const most = Math.max(...parts.map(({ added }) => Math.abs(added)), 1e-9);
  parts.sort((one, other) => Math.abs(other.added) - Math.abs(one.added));
  const few = parts.slice(0, 8);
  const isP = exact && explanation.answer.items[at].probability !== null;
  const lines = few.map(({ item, added }) =>
    make(
      "li",
      {},
      make("span", { class: "what", text: titled(item) }),
      make("span", { class: "both" }, bar(Math.abs(added) / most / 2, added < 0 ? "less" : "more")),
      make("span", { class: "p", text: said(added, isP) }),
    ),
  );
  const what = isP
    ? "Its p, divided by its p after the same history without this item."
    : "Its score, less its score after the same history without this item, but for what all results share.";
  const rest = parts.length > few.length ? ` The ${few.length} strongest of ${parts.length}.` : "";
  return [
    make("p", { class: "hint", text: `${what}${rest}` }),
    make("ol", { class: "added" }, ...lines),
  ];
}

function said(added, isP) {
  const sign = added < 0 ? "−" : "+";
  if (!isP) return `${sign}${Math.abs(added).toFixed(2)}`;
  const times = Math.exp(added);
  return `×${times >= 10 ? times.toFixed(0) : times.toFixed(2)}`;
}

function theirs(system, explanation) {
  const mine = new Set(explanation.answer.items.map((item) => String(item.id)));
  names.meet(system.items);
  const both = system.items.filter((item) => mine.has(String(item.id))).length;
  return make(
    "section",
    { "aria-label": system.name },
    make("h3", { text: system.name }),
    system.missing
      ? make("p", { class: "none", text: `Not available: ${system.missing}.` })
      : make("p", { class: "sum", text: `${both} of ${system.items.length} are in sidrec’s list` }),
    make(
      "ol",
      { class: "plain" },
      ...system.items.map((item) =>
        make(
          "li",
          { class: mine.has(String(item.id)) ? "both" : "" },
          make("button", {
            type: "button",
            class: "link",
            text: titled(item),
            click: () => change({ item: String(item.id) }),
          }),
        ),
      ),
    ),
  );
}

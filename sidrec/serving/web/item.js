// An item's page: what its codes mean, and its neighbours by prefix and by vector.
import * as api from "./api.js";
import { byId, coded, count, make, meaningInFull, titled } from "./dom.js";
import * as events from "./events.js";
import * as names from "./names.js";
import { change, state } from "./state.js";

const dialog = byId("item");
let shown = null;

export function start() {
  dialog.addEventListener("close", () => {
    shown = null;
    if (state.item !== null) change({ item: null });
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside the sheet
  });
}

export async function draw() {
  if (state.item === null) {
    if (dialog.open) dialog.close();
    return;
  }
  if (shown === state.item) return;
  const id = (shown = state.item);
  let content;
  try {
    const found = await api.neighbours(id);
    names.meet([found.item, ...found.by_prefix, ...(found.by_vector ?? [])]);
    content = page(found);
  } catch (error) {
    content = [head(names.title(id)), make("p", { class: "none", text: `${error.message}.` })];
  }
  if (state.item !== id) return;
  dialog.replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  dialog.querySelector(".close").focus();
}

function head(title) {
  return make(
    "div",
    { class: "head" },
    make("h2", { id: "item-title", text: title }),
    make("button", {
      type: "button",
      class: "close",
      "aria-label": "Close",
      text: "×",
      click: () => dialog.close(),
    }),
  );
}

function page(found) {
  const { item } = found;
  const id = String(item.id);
  const facts = [
    `id ${item.id}`,
    count(found.interactions, "interaction") + " in training",
    ...item.categories,
  ];
  if (!item.in_stock) facts.push("out of stock");
  return [
    head(titled(item)),
    make("p", { class: "hint", text: facts.join(" · ") }),
    make(
      "div",
      { class: "actions" },
      make("button", {
        type: "button",
        text: "Add to the history",
        click: () => events.add(id, { item: null }),
      }),
    ),
    make("h3", { text: `Semantic ID ${coded(item.semantic_id)}` }),
    make("ol", { class: "meanings" }, ...found.codes.map((prefix) => codeOf(prefix, item))),
    make(
      "div",
      { class: "near" },
      neighbours(
        "Neighbours by prefix",
        found.by_prefix,
        (other) => coded(item.semantic_id.slice(0, other.shared)),
        "No other item shares its first code.",
      ),
      neighbours(
        "Neighbours by vector",
        found.by_vector,
        (other) => other.cosine.toFixed(2),
        "No vector of this item is at hand.",
      ),
    ),
  ];
}

function codeOf(prefix, item) {
  const alone = prefix.items === 1;
  const said = alone
    ? "this item alone"
    : `${count(prefix.items, "item")}${meaningInFull(prefix) ? `: ${meaningInFull(prefix)}` : ""}`;
  const others = prefix.examples
    .filter((other) => String(other.id) !== String(item.id))
    .map(titled);
  return make(
    "li",
    {},
    make("button", {
      type: "button",
      class: "pill code",
      text: coded(prefix.codes),
      "aria-label": `Walk to ${coded(prefix.codes)}`,
      click: () => change({ prefix: prefix.codes, item: null }),
    }),
    make("span", { class: "what", text: said }),
    !alone && others.length
      ? make("span", { class: "mean", text: `such as ${others.join(" · ")}` })
      : null,
  );
}

function neighbours(title, items, value, none) {
  return make(
    "section",
    { "aria-label": title },
    make("h3", { text: title }),
    items?.length
      ? make(
          "ol",
          { class: "plain" },
          ...items.map((other) =>
            make(
              "li",
              {},
              make("button", {
                type: "button",
                class: "link",
                text: titled(other),
                click: () => change({ item: String(other.id) }),
              }),
              make("span", { class: "p", text: value(other) }),
            ),
          ),
        )
      : make("p", { class: "none", text: none }),
  );
}

// The trie, level by level: what a prefix means, and the codes that follow it.
import * as api from "./api.js";
import { bar, byId, coded, count, make, meaning, meaningInFull, number, titled } from "./dom.js";
import * as names from "./names.js";
import { change, state } from "./state.js";

const panel = byId("codes");
const FEW = 16;
let shown = null; // the prefix that is drawn
let all = false; // whether all of its children are
let focusAfter = false;

export async function draw() {
  const prefix = state.prefix ?? [];
  if (shown === coded(prefix)) return;
  shown = coded(prefix);
  all = false;
  let found;
  try {
    found = await api.codes(prefix);
  } catch (error) {
    if (shown === coded(prefix))
      panel.replaceChildren(
        crumbs(prefix),
        make("p", { class: "none", text: `${error.message}.` }),
      );
    return;
  }
  if (shown === coded(prefix)) fill(found);
}

const walk = (prefix) => {
  focusAfter = true;
  change({ prefix: prefix.length ? prefix : null });
};

function crumbs(prefix) {
  const steps = prefix.map((code, at) => [String(code), prefix.slice(0, at + 1)]);
  const links = [["All items", []], ...steps].map(([text, path]) =>
    make(
      "li",
      {},
      make("button", {
        type: "button",
        class: "link",
        text,
        "aria-current": path.length === prefix.length ? "true" : null,
        "aria-label": path.length ? `Prefix ${coded(path)}` : text,
        click: () => walk(path),
      }),
    ),
  );
  return make("nav", { "aria-label": "Prefix" }, make("ol", { class: "crumbs" }, ...links));
}

function fill(found) {
  names.meet(found.members);
  const most = Math.max(...found.children.map((child) => child.items), 1);
  const children = all ? found.children : found.children.slice(0, FEW);
  const hidden = found.children_in_all - children.length;
  const said = meaningInFull(found);
  panel.replaceChildren(
    crumbs(found.codes),
    make("p", {
      class: "sum",
      text: `${count(found.items, "item")}${found.codes.length && said ? `: ${said}` : ""}`,
    }),
    make(
      "div",
      { class: "walk" },
      found.children.length
        ? make(
            "section",
            { "aria-label": "Next codes" },
            make("h3", { text: `Next codes: ${number(found.children_in_all)}` }),
            make("ol", { class: "bars grid" }, ...children.map((child) => childOf(child, most))),
            found.children.length > FEW && !all
              ? make("button", {
                  type: "button",
                  class: "quiet",
                  text: `Show ${number(found.children.length - FEW)} more`,
                  click: () => {
                    all = true;
                    fill(found);
                  },
                })
              : null,
            hidden > 0 && all
              ? make("p", { class: "hint", text: `${number(hidden)} smaller ones are left out.` })
              : null,
          )
        : null,
      found.codes.length
        ? make(
            "section",
            { "aria-label": "Items" },
            make("h3", {
              text:
                found.members.length < found.items
                  ? `The ${found.members.length} most popular items`
                  : "Items",
            }),
            make(
              "ol",
              { class: "plain columns" },
              ...found.members.map((item) =>
                make(
                  "li",
                  {},
                  make("button", {
                    type: "button",
                    class: "link",
                    text: titled(item),
                    click: () => change({ item: String(item.id) }),
                  }),
                ),
              ),
            ),
          )
        : null,
    ),
  );
  if (focusAfter) panel.querySelector("[aria-current]")?.focus();
  focusAfter = false;
}

function childOf(child, most) {
  const said = meaning(child);
  return make(
    "li",
    {},
    make(
      "button",
      { type: "button", class: "row", click: () => walk(child.codes) },
      make("span", { class: "code", text: coded(child.codes) }),
      make("span", { class: "p", text: number(child.items) }),
      make("span", { class: "track" }, bar(child.items / most)),
      make("span", { class: "what", text: child.examples.map(titled).join(" · ") }),
      said ? make("span", { class: "mean", text: said }) : null,
    ),
  );
}

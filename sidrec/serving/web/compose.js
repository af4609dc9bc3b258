// The history: an item is found by title, put in its place by drag or by keys, and removed.
import * as api from "./api.js";
import { byId, make, settled, titled } from "./dom.js";
import * as events from "./events.js";
import * as moments from "./moments.js";
import * as names from "./names.js";
import { change, state, temperature } from "./state.js";
import * as user from "./user.js";

const list = byId("history");
const input = byId("search");
const options = byId("found");
let items = []; // what is offered
let active = -1; // which of them Enter takes
let moved = false; // whether keys have chosen it
let shown = ""; // what the offered items were found by
let hurried = false; // whether Enter came before its answer
let asked = null; // the call under way
let dragged = -1;
let drawn = null; // what the chips show
let focusAfter = null; // (position, class of the button) to focus when the list is drawn again

export function start(about) {
  moments.start(about, follow);
  user.start(about);
  const look = settled(120, search);
  input.addEventListener("input", () => {
    moved = hurried = false;
    look();
  });
  input.addEventListener("keydown", keys);
  input.addEventListener("blur", () => setTimeout(close, 150));
  byId("clear").addEventListener("click", () => {
    change({ history: [], times: [], ratings: [], actions: [], banned: [] });
    input.focus();
  });
  byId("example").addEventListener("click", () => events.replace(about.example));
  byId("seen").addEventListener("change", (event) => change({ seen: event.target.checked }));
  const warm = byId("temperature");
  warm.addEventListener(
    "input",
    settled(120, () => change({ warmth: Number(warm.value) }, { replace: true })),
  );
  list.addEventListener("dragover", (event) => event.preventDefault());
}

export function draw(read) {
  byId("seen").checked = state.seen;
  byId("temperature").value = state.warmth;
  byId("warmth").textContent = temperature().toFixed(2);
  byId("clear").disabled = !state.history.length && !state.banned.length;
  moments.draw();
  user.draw();
  drawHistory(read);
  drawBanned();
  if (focusAfter) {
    const [at, kind] = focusAfter;
    const target = list.children[at]?.querySelector(`.${kind}`);
    (target && !target.disabled
      ? target
      : (list.children[at]?.querySelector("button:not(:disabled)") ?? input)
    ).focus();
    focusAfter = null;
  }
}

/** Draws the chips anew if they have to be others: what is typed in a field is not lost. */
function drawHistory(read) {
  const skipped = Math.max(0, state.history.length - read);
  const key = JSON.stringify([skipped, state.history.map((id) => [id, names.title(id)])]);
  if (key === drawn) return moments.refresh(list);
  drawn = key;
  if (!focusAfter) follow([...state.history.keys()]);
  list.replaceChildren(...state.history.map((id, at) => chip(id, at, at < skipped)));
  if (!state.history.length) {
    list.append(
      make("li", {
        class: "empty",
        text: "Nobody’s history: the search says what is likely without any.",
      }),
    );
  }
}

/** Lets what has the focus keep it where its item goes. */
function follow(order) {
  const focused = document.activeElement;
  const at = [...list.children].indexOf(focused?.closest("#history > li"));
  if (at >= 0) focusAfter = [order.indexOf(at), focused.classList[0]];
}

function chip(id, at, skipped) {
  const name = names.title(id);
  const last = state.history.length - 1;
  const button = (kind, sign, label, act, disabled) =>
    make("button", {
      type: "button",
      class: kind,
      "aria-label": `${label}: ${name}`,
      title: label,
      click: act,
      disabled,
      text: sign,
    });
  return make(
    "li",
    {
      class: skipped ? "chip skipped" : "chip",
      draggable: "true",
      title: skipped ? "older than what the model reads" : null,
      dragstart: (event) => {
        dragged = at;
        event.dataTransfer.effectAllowed = "move";
        event.dataTransfer.setData("text/plain", name);
      },
      dragenter: (event) => event.currentTarget.classList.add("over"),
      dragleave: (event) => event.currentTarget.classList.remove("over"),
      dragend: () => (dragged = -1),
      drop: (event) => {
        event.preventDefault();
        if (dragged >= 0) move(dragged, at);
        dragged = -1;
      },
    },
    button("earlier", "‹", "Move earlier", () => move(at, at - 1, "earlier"), at === 0),
    make("button", {
      type: "button",
      class: "name",
      text: name,
      click: () => change({ item: id }),
      keydown: (event) => arrows(event, at),
    }),
    button("later", "›", "Move later", () => move(at, at + 1, "later"), at === last),
    button("remove", "×", "Remove", () => remove(at)),
    moments.fields(at, name),
  );
}

function arrows(event, at) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by && event.altKey) {
    event.preventDefault();
    move(at, at + by, "name");
  } else if (event.key === "Delete" || event.key === "Backspace") {
    event.preventDefault();
    remove(at);
  }
}

function move(from, to, kind = "name") {
  if (to < 0 || to >= state.history.length || from === to) return;
  focusAfter = [to, kind];
  events.move(from, to);
}

function remove(at) {
  focusAfter = [Math.min(at, state.history.length - 2), "name"];
  if (state.history.length === 1) focusAfter = [-1, "name"];
  events.remove(at);
}

function drawBanned() {
  const line = byId("banned");
  line.hidden = !state.banned.length;
  line.replaceChildren(
    "Kept out by you: ",
    ...state.banned.map((id) =>
      make("button", {
        type: "button",
        class: "pill",
        text: `${names.title(id)} ×`,
        "aria-label": `Let in again: ${names.title(id)}`,
        click: () => change({ banned: state.banned.filter((other) => other !== id) }),
      }),
    ),
  );
}

// Finding items.

async function search() {
  const query = input.value.trim();
  asked?.abort();
  if (!query) return close();
  asked = new AbortController();
  let found;
  try {
    found = (await api.find(query, asked.signal)).items;
    names.meet(found);
  } catch (error) {
    if (error.name === "AbortError") return;
    found = [];
  }
  const chosen = moved ? items[active]?.id : null; // it stays, where it is found again
  const kept = found.findIndex((item) => item.id === chosen);
  items = found;
  shown = query;
  moved = kept >= 0;
  active = items.length ? Math.max(kept, 0) : -1;
  if (hurried && items.length) take(active);
  else drawOptions();
  hurried = false;
}

function drawOptions() {
  input.setAttribute("aria-expanded", "true");
  options.hidden = false;
  options.replaceChildren(
    ...items.map((item, at) =>
      make(
        "li",
        {
          id: `found-${at}`,
          role: "option",
          "aria-selected": String(at === active),
          mousedown: (event) => event.preventDefault(),
          click: () => take(at),
        },
        make("span", { text: titled(item) }),
        item.in_stock ? null : make("em", { text: " out of stock" }),
      ),
    ),
  );
  if (!items.length)
    options.append(
      make("li", {
        class: "none",
        role: "option",
        "aria-disabled": "true",
        "aria-selected": "false",
        text: "No title holds this.",
      }),
    );
  if (active >= 0) input.setAttribute("aria-activedescendant", `found-${active}`);
  else input.removeAttribute("aria-activedescendant");
}

function keys(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const query = input.value.trim();
  if (by && items.length && !options.hidden) {
    event.preventDefault();
    active = (active + by + items.length) % items.length;
    moved = true;
    drawOptions();
  } else if (event.key === "Enter" && query && query !== shown && !moved) {
    event.preventDefault(); // what is offered was found by other words
    hurried = true;
  } else if (event.key === "Enter" && active >= 0 && !options.hidden) {
    event.preventDefault();
    take(active);
  } else if (event.key === "Escape") {
    close();
  } else if (event.key === "Backspace" && !input.value && state.history.length) {
    events.remove(state.history.length - 1);
  }
}

function take(at) {
  const { id } = items[at];
  input.value = "";
  close();
  events.add(id);
}

function close() {
  options.hidden = true;
  items = [];
  active = -1;
  moved = hurried = false;
  shown = "";
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

// The fields for times, ratings and actions: of each event of the history, and of the request.
import { byId, make } from "./dom.js";
import * as events from "./events.js";
import { state } from "./state.js";

let reads = { times: false, request_time: false, ratings: [], actions: [] };
const isNow = byId("is-now");
const asked = byId("asked");

export function start(about, moved) {
  reads = about.inputs;
  atTimes = moved;
  byId("history").classList.toggle("dated", any());
  const hint = byId("assumed");
  hint.hidden = !any();
  hint.textContent = explained();
  byId("moment").hidden = !reads.request_time;
  isNow.addEventListener("change", () => events.setAsked(isNow.checked ? null : events.now()));
  whenDone(asked, () => state.asked, events.setAsked);
}

let atTimes = () => {}; // hears of the events' new order when a time has changed it

const any = () => reads.times || reads.ratings.length > 0 || reads.actions.length > 0;

function explained() {
  const said = [];
  if (reads.times)
    said.push(
      "Times are UTC.",
      "An item that you add is put an hour after the one before it, the first one a day before the request.",
    );
  if (reads.ratings.length) said.push("A new item is not rated.");
  if (reads.actions.length) said.push("What the user did with a new item is unknown.");
  said.push("Change that as you like.");
  if (reads.times) said.push("Items that you move trade their times.");
  return said.join(" ");
}

/** Seconds since 1970 as a field has them; UTC, so that an address means the same everywhere. */
const inField = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19);

/** The same for people. */
export const inWords = (seconds) => `${inField(seconds).replace("T", " ")} UTC`;

function seconds(text) {
  const value = Date.parse(`${text}Z`) / 1000;
  return Number.isFinite(value) && value >= 0 ? value : null;
}

/** Takes a field's time when it is left or by Enter; what is no time is set back. */
function whenDone(field, get, set) {
  const take = () => {
    if (!field.isConnected || field.hidden) return; // too late: its event is gone
    const value = seconds(field.value);
    if (value === null) field.value = get() === null ? "" : inField(get());
    else if (value !== get()) set(value);
  };
  field.addEventListener("blur", () => setTimeout(take)); // what gets the focus has it by then
  field.addEventListener("keydown", (event) => event.key === "Enter" && take());
}

/** The fields of an event; null where nothing is read of it. */
export function fields(at, name) {
  if (!any()) return null;
  const line = make("div", { class: "fields" });
  if (reads.times) {
    const field = make("input", {
      type: "datetime-local",
      step: "1",
      class: "when",
      "aria-label": `Time (UTC): ${name}`,
      value: inField(state.times[at]),
    });
    whenDone(
      field,
      () => state.times[at] ?? null,
      (value) => events.setTime(at, value, atTimes),
    );
    line.append(field);
  }
  if (reads.ratings.length) {
    const select = make(
      "select",
      {
        class: "rated",
        "aria-label": `Rating: ${name}`,
        change: () => events.setRating(at, select.value),
      },
      make("option", { value: "", text: "not rated" }),
      ...offered(at).map((text) => make("option", { value: text, text: `rated ${text}` })),
    );
    select.value = state.ratings[at];
    line.append(select);
  }
  if (reads.actions.length) {
    const select = make(
      "select",
      {
        class: "done",
        "aria-label": `Action: ${name}`,
        change: () => events.setAction(at, select.value),
      },
      make("option", { value: "", text: "unknown action" }),
      ...reads.actions.map((text) => make("option", { value: text, text })),
    );
    select.value = state.actions[at];
    line.append(select);
  }
  return line;
}

/** The ratings of the log, and the event's own if it is another. */
function offered(at) {
  const ratings = reads.ratings.map(String);
  const own = state.ratings[at];
  return own === "" || ratings.includes(own) ? ratings : [...ratings, own];
}

/** Writes what has changed into fields that stay; one that is typed in is left alone. */
export function refresh(list) {
  for (const [at, chip] of [...list.children].entries()) {
    const when = chip.querySelector(".when");
    const rated = chip.querySelector(".rated");
    if (when && when !== document.activeElement) when.value = inField(state.times[at]);
    if (rated) rated.value = state.ratings[at];
    const done = chip.querySelector(".done");
    if (done) done.value = state.actions[at];
  }
}

/** Draws the time of the request. */
export function draw() {
  isNow.checked = state.asked === null;
  asked.hidden = isNow.checked;
  if (state.asked !== null && asked !== document.activeElement) asked.value = inField(state.asked);
}

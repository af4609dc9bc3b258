// What is known of the user: a field for each attribute that the run reads; empty where unknown.
import { byId, make } from "./dom.js";
import { change, state } from "./state.js";

let known = []; // {name, values}, without values for a number
const fields = new Map(); // name → field

export function start(about) {
  known = about.inputs.attributes ?? [];
  const group = byId("user");
  group.hidden = !known.length;
  for (const attribute of known) {
    const field = attribute.values ? choice(attribute) : amount(attribute);
    fields.set(attribute.name, field);
    group.append(make("label", { class: "check" }, attribute.name, field));
  }
}

function choice({ name, values }) {
  const field = make(
    "select",
    { class: "known", change: () => set(name, field.value) },
    make("option", { value: "", text: "unknown" }),
    ...values.map((text) => make("option", { value: text, text })),
  );
  return field;
}

function amount({ name }) {
  const field = make("input", {
    type: "number",
    step: "any",
    class: "known",
    placeholder: "unknown",
    change: () => {
      set(name, field.value);
      field.value = textOf(name, state.user); // what is no number is unknown
    },
  });
  return field;
}

const textOf = (name, user) => (Object.hasOwn(user, name) ? user[name] : "");

function set(name, text) {
  change({ user: settled({ ...state.user, [name]: text }) });
}

/** What of this the run knows: other attributes, other values and what is no number are unknown. */
export function settled(user) {
  const all = known.map(({ name, values }) => {
    const text = textOf(name, user);
    return [name, values ? (values.includes(text) ? text : "") : numeral(text)];
  });
  return Object.fromEntries(all.filter(([, text]) => text !== ""));
}

/** A number as fields write it; '' for what is none, or too large for the run. */
function numeral(text) {
  const value = Number(text);
  return text.trim() !== "" && Number.isFinite(Math.fround(value)) ? String(value) : "";
}

/** What a request says of its user. */
export function context() {
  const said = known.filter(({ name }) => textOf(name, state.user) !== "");
  if (!said.length) return {};
  const valued = ({ name, values }) => [name, values ? state.user[name] : Number(state.user[name])];
  return { attributes: Object.fromEntries(said.map(valued)) };
}

/** The attributes of a request in words, or '' where the run reads none. */
export function inWords({ attributes = {} }) {
  if (!known.length) return "";
  const said = Object.entries(attributes).map(([name, value]) => `${name} ${value}`);
  return said.length ? `user: ${said.join(", ")}` : "nothing is known of the user";
}

/** Writes what has changed into the fields; one that is typed in is left alone. */
export function draw() {
  for (const [name, field] of fields) {
    const text = textOf(name, state.user);
    if (field !== document.activeElement || field.tagName === "SELECT") field.value = text;
  }
}

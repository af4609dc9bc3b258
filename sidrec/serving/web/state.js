// What the page shows, kept in the address behind '#', so that a view can be shared.

const listeners = new Set();

export const state = {
  history: [], // ids as text, oldest first
  times: [], // of the history, in seconds since 1970, where the run reads them
  ratings: [], // of the history, as text, '' where unknown, where the run reads them
  actions: [], // of the history, '' where unknown, where the run reads them
  user: {}, // attribute → text, of those that are known of the user, where the run reads them
  asked: null, // when the request is made; null for now
  banned: [], // ids that the search must not return
  seen: true, // whether items of the history are left out
  warmth: 0, // temperature is 2^(warmth / 4)
  prefix: null, // codes that are walked and lit, or null
  item: null, // id whose page is open
};

const DEFAULTS = { ...state };
const USER = "user."; // before the name of an attribute, in the address

export const temperature = () => 2 ** (state.warmth / 4);

/** Changes the state, writes the address and tells everybody. */
export function change(changes, { replace = false } = {}) {
  Object.assign(state, changes);
  const address = `#${written()}`;
  if (address !== (location.hash || "#")) {
    if (replace) window.history.replaceState(null, "", address);
    else window.history.pushState(null, "", address);
  }
  tell();
}

export const onChange = (listener) => listeners.add(listener);
const tell = () => listeners.forEach((listener) => listener(state));

function written() {
  const said = new URLSearchParams();
  state.history.forEach((id) => said.append("h", id));
  state.times.forEach((time) => said.append("at", String(time)));
  if (state.ratings.some((text) => text !== ""))
    state.ratings.forEach((text) => said.append("r", text));
  if (state.actions.some((name) => name !== ""))
    state.actions.forEach((name) => said.append("do", name));
  for (const [name, text] of Object.entries(state.user)) said.set(`${USER}${name}`, text);
  if (state.asked !== null) said.set("asked", String(state.asked));
  state.banned.forEach((id) => said.append("not", id));
  if (!state.seen) said.set("seen", "0");
  if (state.warmth) said.set("t", String(state.warmth));
  if (state.prefix) said.set("code", state.prefix.join("."));
  if (state.item !== null) said.set("item", state.item);
  return said.toString();
}

const LAST = 253402300799; // of the year 9999
const isNumber = (text) => text.trim() !== "" && Number.isFinite(Number(text));
/** Seconds since 1970, whole; NaN for what no field could show. */
function timeOf(text) {
  const time = Math.round(Number(text));
  return isNumber(text) && time >= 0 && time <= LAST ? time : NaN;
}

/** Reads the address; returns whether it said anything. */
export function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const warmth = Math.round(Number(said.get("t")));
  const code = said.get("code");
  const asked = timeOf(said.get("asked") ?? "");
  Object.assign(state, DEFAULTS, {
    history: said.getAll("h"),
    times: said.getAll("at").map(timeOf),
    ratings: said.getAll("r").map((text) => (isNumber(text) ? String(Number(text)) : "")),
    actions: said.getAll("do"),
    user: Object.fromEntries(
      [...said]
        .filter(([name]) => name.startsWith(USER))
        .map(([name, text]) => [name.slice(USER.length), text]),
    ),
    asked: Number.isNaN(asked) ? null : asked,
    banned: said.getAll("not"),
    seen: said.get("seen") !== "0",
    warmth: Number.isFinite(warmth) ? Math.max(-10, Math.min(10, warmth)) : 0,
    prefix: code !== null && /^\d+(\.\d+)*$/.test(code) ? code.split(".").map(Number) : null,
    item: said.get("item"),
  });
  return location.hash.length > 1;
}

window.addEventListener("popstate", () => {
  readAddress();
  tell();
});

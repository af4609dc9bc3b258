// The events of the history: items and, where the run reads them, their times, ratings and actions.
// The lists of the state go together, in the order of the times.
import { change, state } from "./state.js";
import * as user from "./user.js";

const HOUR = 3600;
const DAY = 24 * HOUR;
let reads = { times: false, request_time: false, ratings: [], actions: [] };

export function start(about) {
  reads = about.inputs;
}

export const now = () => Math.floor(Date.now() / 1000);
const newest = () => Math.max(0, ...state.times);
const isTime = (time) => Number.isFinite(time) && time >= 0;

/** When the request is made: as the page says, or now, but not before an event. */
export function moment() {
  if (!reads.request_time) return {};
  return { request_time: state.asked ?? Math.max(now(), newest()) };
}

/** What a request gives beside items; when it is made is given too if the page says so. */
export function context(most) {
  const given = {};
  if (reads.times) given.times = state.times.slice(-most);
  if (reads.ratings.length)
    given.ratings = state.ratings.slice(-most).map((text) => (text === "" ? null : Number(text)));
  if (reads.actions.length)
    given.actions = state.actions.slice(-most).map((name) => (name === "" ? null : name));
  if (reads.request_time && state.asked !== null) given.request_time = state.asked;
  return given;
}

/** What is wrong with the times, or ''. */
export function complaint(written) {
  if (!reads.request_time || state.asked === null || newest() <= state.asked) return "";
  return `the newest event is of ${written(newest())}, after the request at ${written(state.asked)}`;
}

/** An hour after the event before, or a day before the request; not after the request. */
function assumed(before) {
  const end = state.asked ?? now();
  return isTime(before) ? Math.max(before, Math.min(before + HOUR, end)) : Math.max(0, end - DAY);
}

/** These items with their times, ratings and actions; what is missing of them is assumed. */
function complete(history, { times = [], ratings = [], actions = [] } = {}) {
  const all = [];
  for (const at of history.keys()) {
    if (reads.times) all.push(isTime(times[at]) ? times[at] : assumed(all[at - 1]));
  }
  const said = reads.ratings.length ? history.map((_, at) => ratings[at] ?? "") : [];
  const done = reads.actions.length ? history.map((_, at) => actions[at] ?? "") : [];
  return { history, times: all, ratings: said, actions: done };
}

/** The lists of the state with these places of theirs, in this order. */
function picked(order, lists = state) {
  const of = (values) => (values.length ? order.map((at) => values[at]) : []);
  const names = ["history", "times", "ratings", "actions"];
  return Object.fromEntries(names.map((name) => [name, of(lists[name])]));
}

/** The places of events in the order of their times; of equal ones, as they are. */
const inOrder = (times) => [...times.keys()].sort((one, other) => times[one] - times[other]);

const put = (values, at, value) => values.map((old, place) => (place === at ? value : old));

/** Completes what an address says and orders it; whether there was anything to change. */
export function settle() {
  const lists = complete(state.history, state);
  const settled = {
    ...(reads.times ? picked(inOrder(lists.times), lists) : lists),
    asked: reads.request_time ? state.asked : null,
    user: user.settled(state.user),
  };
  const isSame = ([name, value]) => JSON.stringify(value) === JSON.stringify(state[name]);
  if (Object.entries(settled).every(isSame)) return false;
  change(settled, { replace: true });
  return true;
}

export const replace = (ids) => change(complete(ids.map(String)));

export const add = (id, more = {}) =>
  change({ ...complete([...state.history, String(id)], state), ...more });

export const remove = (at) =>
  change(picked([...state.history.keys()].filter((place) => place !== at)));

/** Puts an item elsewhere: it takes its rating and action along, and the times stay where they are. */
export function move(from, to) {
  const order = [...state.history.keys()];
  order.splice(to, 0, ...order.splice(from, 1));
  change({ ...picked(order), times: state.times });
}

/** Gives an event another time, and its place among the others; `moved` hears of their order. */
export function setTime(at, time, moved) {
  const lists = { ...state, times: put(state.times, at, time) };
  const order = inOrder(lists.times);
  moved(order);
  change(picked(order, lists));
}

export const setRating = (at, text) => change({ ratings: put(state.ratings, at, text) });
export const setAction = (at, name) => change({ actions: put(state.actions, at, name) });
export const setAsked = (asked) => change({ asked });

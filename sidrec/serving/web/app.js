// The page: one state, which the address keeps; each change asks the server and draws the panels.
import * as api from "./api.js";
import * as beam from "./beam.js";
import * as codes from "./codes.js";
import * as compose from "./compose.js";
import { byId, count, number } from "./dom.js";
import * as events from "./events.js";
import * as item from "./item.js";
import * as lists from "./lists.js";
import * as map from "./map.js";
import * as moments from "./moments.js";
import * as names from "./names.js";
import { change, onChange, readAddress, state, temperature } from "./state.js";
import * as user from "./user.js";

let about = null;
let asked = ""; // the request whose answer is drawn, or under way
let calls = null;
let answer = null; // {explanation, others}

async function main() {
  const told = readAddress();
  try {
    about = await api.about();
  } catch (error) {
    return complain(error);
  }
  byId("facts").textContent = [
    about.name,
    count(about.items, "item"),
    `IDs of ${about.levels} codes, up to ${number(about.codes)} each`,
    `${about.beams} beams`,
    ...(about.read_only ? ["read only"] : []),
  ].join(" · ");
  events.start(about);
  compose.start(about);
  item.start();
  onChange(update);
  map.start(about);
  if (told) update();
  else change({ history: about.example.map(String) }, { replace: true });
}

function update() {
  if (events.settle()) return; // what was missing has been told to everybody, us too
  compose.draw(about.history_length);
  const request = wanted();
  const key = JSON.stringify(request);
  if (key !== asked) ask(request, key);
  else if (answer) beam.draw(answer.explanation);
  codes.draw();
  item.draw();
  learn();
}

async function learn() {
  if (await names.learn([...state.history, ...state.banned])) compose.draw(about.history_length);
}

function wanted() {
  const request = {
    items: state.history.slice(-about.most_history),
    ...events.context(about.most_history),
    ...user.context(),
    k: Math.min(10, about.beams),
    exclude_seen: state.seen,
  };
  if (state.banned.length) request.forbidden = state.banned;
  if (state.warmth) request.temperature = about.temperature * temperature();
  return request;
}

async function ask(request, key) {
  asked = key;
  calls?.abort();
  const wrong = events.complaint(moments.inWords);
  if (wrong) {
    document.body.classList.remove("busy");
    return complain(new Error(wrong));
  }
  calls = new AbortController();
  const { signal } = calls;
  request = { ...request, ...events.moment() }; // the same one for all systems
  document.body.classList.add("busy");
  const began = performance.now();
  const others = api.baselines(request, signal).catch((error) => {
    if (error.name === "AbortError") throw error;
    return { systems: [] };
  });
  others.catch(() => {});
  try {
    const explanation = await api.explain(request, signal);
    answer = { explanation, others: null };
    names.meet([...explanation.answer.items, ...explanation.history]);
    byId("error").hidden = true;
    draw();
    report(explanation, performance.now() - began, user.inWords(request));
    answer.others = await others;
    draw();
  } catch (error) {
    if (error.name === "AbortError") return;
    asked = "";
    complain(error);
    if (error.status === 503) setTimeout(update, 1500); // not ready yet, or busy
  } finally {
    if (calls.signal === signal) document.body.classList.remove("busy");
  }
}

function draw() {
  beam.draw(answer.explanation);
  lists.draw(answer.explanation, answer.others, !about.joined.length);
  map.draw(answer.explanation);
}

function report(explanation, milliseconds, who) {
  const { read, unknown, asked_at } = explanation.answer;
  const parts = [
    `${count(read, "item")} read`,
    `${count(explanation.answer.items.length, "result")} in ${Math.round(milliseconds)} ms`,
  ];
  if (state.history.length > read + unknown.length) parts.push("older ones are not read");
  if (unknown.length) parts.push(`no item has the id ${unknown.slice(0, 3).join(", ")}`);
  if (who) parts.push(who);
  if (asked_at !== null) parts.push(`asked at ${moments.inWords(asked_at)}`);
  const joined = about.joined.join(" and of ");
  if (joined) parts.push(`p joins that of semantic IDs and that of ${joined}`);
  byId("status").textContent = `${parts.join(" · ")}.`;
}

function complain(error) {
  const line = byId("error");
  line.textContent = `${error.message}.`;
  line.hidden = false;
}

main();

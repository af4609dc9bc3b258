// The map of the items: history and results lit, and the items of the prefix that is walked.
import * as api from "./api.js";
import { byId, coded, count, make, number } from "./dom.js";
import { change, onChange, state } from "./state.js";

const SIDE = 1000;
const MARGIN = 26; // pixels around the items, for their signs
const panel = byId("map");
const canvas = make("canvas", { role: "img", tabindex: "0" });
const tip = make("p", { class: "tip", hidden: true });
const legend = make("p", { class: "legend" });
let points = null; // {items, titles, places, codes, at: id → place in these lists}
let results = []; // ids, best first
let view = { x: SIDE / 2, y: SIDE / 2, zoom: 1 };
let hovered = -1;
let pressed = null;

export async function start(about) {
  if (!about.vectors) return say("This run holds no item vectors, so there is no map.");
  for (;;) {
    let found;
    try {
      found = await api.map();
    } catch (error) {
      return say(`There is no map: ${error.message}.`);
    }
    if (found.state === "ready") return show(found);
    if (found.state !== "making")
      return say("The map could not be made; the server’s log says why.");
    say("The map is being made. This takes up to a minute, once for each run.");
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

const say = (text) => panel.replaceChildren(make("p", { class: "none", text }));

function show(found) {
  points = { ...found, at: new Map(found.items.map((id, at) => [String(id), at])) };
  const button = (text, label, click) =>
    make("button", { type: "button", "aria-label": label, title: label, text, click });
  panel.replaceChildren(
    make(
      "div",
      { class: "frame" },
      canvas,
      tip,
      make(
        "div",
        { class: "zoom" },
        button("+", "Zoom in", () => zoom(1.6)),
        button("−", "Zoom out", () => zoom(1 / 1.6)),
        button("◎", "Zoom to the results", focusOnResults),
        button("⤢", "Whole map", () => look(SIDE / 2, SIDE / 2, 1)),
      ),
    ),
    legend,
  );
  canvas.addEventListener("pointermove", hover);
  canvas.addEventListener("pointerleave", () => point(-1));
  canvas.addEventListener("pointerdown", (event) => {
    pressed = { x: event.offsetX, y: event.offsetY, moved: false };
  });
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("keydown", keys);
  new ResizeObserver(paint).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  onChange(paint);
  paint();
}

/** Draws with these results; called when they are there. */
export function draw(explanation) {
  results = explanation.answer.items.map((item) => String(item.id));
  paint();
}

const size = () => ({ width: canvas.clientWidth, height: canvas.clientHeight });

function screen([x, y]) {
  const { width, height } = size();
  const scaleX = ((width - 2 * MARGIN) / SIDE) * view.zoom;
  const scaleY = ((height - 2 * MARGIN) / SIDE) * view.zoom;
  return [width / 2 + (x - view.x) * scaleX, height / 2 + (y - view.y) * scaleY];
}

function look(x, y, zoom) {
  view = { x, y, zoom: Math.max(1, Math.min(40, zoom)) };
  const half = SIDE / 2 / view.zoom;
  view.x = Math.max(half, Math.min(SIDE - half, view.x));
  view.y = Math.max(half, Math.min(SIDE - half, view.y));
  paint();
}

const zoom = (by) => look(view.x, view.y, view.zoom * by);

function focusOnResults() {
  const places = [...results, ...state.history]
    .filter((id) => points.at.has(id))
    .map((id) => points.places[points.at.get(id)]);
  if (!places.length) return;
  const range = (axis) => [
    Math.min(...places.map((place) => place[axis])),
    Math.max(...places.map((place) => place[axis])),
  ];
  const [[left, right], [top, bottom]] = [range(0), range(1)];
  look(
    (left + right) / 2,
    (top + bottom) / 2,
    SIDE / (Math.max(right - left, bottom - top, 20) * 1.15),
  );
}

function wheel(event) {
  if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
}

function keys(event) {
  const step = 120 / view.zoom;
  const by = {
    ArrowLeft: [-step, 0],
    ArrowRight: [step, 0],
    ArrowUp: [0, -step],
    ArrowDown: [0, step],
  }[event.key];
  if (by) {
    event.preventDefault();
    look(view.x + by[0], view.y + by[1], view.zoom);
  } else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.6 : 1 / 1.6);
}

// Drawing.

function paint() {
  if (!points) return;
  const { width, height } = size();
  if (!width) return;
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const lit = state.prefix;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const radius = Math.min(4, (points.items.length > 5000 ? 1.2 : 2) * Math.sqrt(view.zoom));
  const begins = (codes) => lit.every((code, level) => codes[level] === code);
  const members = [];
  points.places.forEach((place, at) => {
    if (lit && begins(points.codes[at])) return members.push(at);
    const hue = (points.codes[at][0] * 137.508) % 360;
    pen.fillStyle = `hsl(${hue} ${dark ? 45 : 55}% ${dark ? 62 : 50}% / ${lit ? 0.16 : 0.5})`;
    dot(pen, screen(place), radius);
  });
  pen.fillStyle = colour("--lit");
  for (const at of members) dot(pen, screen(points.places[at]), radius + 2);
  const ranked = results.map((id, rank) => [id, rank]).filter(([id]) => points.at.has(id));
  for (const [id, rank] of ranked.reverse())
    ring(pen, screen(points.places[points.at.get(id)]), rank + 1, colour);
  for (const id of state.history)
    if (points.at.has(id)) diamond(pen, screen(points.places[points.at.get(id)]), colour);
  if (hovered >= 0) {
    pen.strokeStyle = colour("--ink");
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.arc(...screen(points.places[hovered]), radius + 4, 0, 7);
    pen.stroke();
  }
  explain(members.length);
}

function dot(pen, [x, y], radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.fill();
}

function diamond(pen, [x, y], colour) {
  pen.beginPath();
  for (const [dx, dy] of [
    [0, -7],
    [7, 0],
    [0, 7],
    [-7, 0],
  ])
    pen.lineTo(x + dx, y + dy);
  pen.closePath();
  pen.fillStyle = colour("--history");
  pen.fill();
  pen.lineWidth = 1.5;
  pen.strokeStyle = colour("--card");
  pen.stroke();
}

function ring(pen, [x, y], rank, colour) {
  pen.beginPath();
  pen.arc(x, y, 9, 0, 7);
  pen.fillStyle = colour("--accent");
  pen.fill();
  pen.lineWidth = 1.5;
  pen.strokeStyle = colour("--card");
  pen.stroke();
  pen.fillStyle = colour("--on-accent");
  pen.font = "600 10px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(String(rank), x, y + 0.5);
}

function explain(members) {
  const parts = [
    [make("span", { class: "sign history", "aria-hidden": "true", text: "◆" }), " history"],
    [make("span", { class: "sign result", "aria-hidden": "true", text: "1" }), " results"],
  ];
  if (state.prefix)
    parts.push([
      make("span", { class: "sign lit", "aria-hidden": "true", text: "●" }),
      ` ${count(members, "item")} of ${coded(state.prefix)}`,
    ]);
  legend.replaceChildren(
    ...parts.map((part) => make("span", {}, ...part)),
    make("span", { class: "hint", text: `${number(points.items.length)} items drawn` }),
  );
  canvas.setAttribute(
    "aria-label",
    `Map of ${count(points.items.length, "item")}: ${count(state.history.length, "item")} of the history and ${count(results.length, "result")} are marked${state.prefix ? `; ${count(members, "item")} of the prefix ${coded(state.prefix)} are lit` : ""}. Arrow keys move it, plus and minus zoom.`,
  );
}

// Pointing.

function nearest(x, y, reach = 14) {
  let best = -1;
  let least = reach ** 2;
  points.places.forEach((place, at) => {
    const [px, py] = screen(place);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) [best, least] = [at, distance];
  });
  return best;
}

function hover(event) {
  if (pressed && event.buttons) {
    const { width, height } = size();
    const [dx, dy] = [event.offsetX - pressed.x, event.offsetY - pressed.y];
    if (!pressed.moved && Math.hypot(dx, dy) < 4) return;
    pressed = { x: event.offsetX, y: event.offsetY, moved: true };
    look(
      view.x - (dx / (width * view.zoom)) * SIDE,
      view.y - (dy / (height * view.zoom)) * SIDE,
      view.zoom,
    );
    return;
  }
  point(nearest(event.offsetX, event.offsetY));
}

function point(at) {
  if (at === hovered) return;
  hovered = at;
  tip.hidden = at < 0;
  canvas.classList.toggle("pointing", at >= 0);
  if (at >= 0) {
    tip.textContent = `${points.titles[at] || `item ${points.items[at]}`} · ${coded(points.codes[at])}`;
    const [x, y] = screen(points.places[at]);
    tip.style.left = `${Math.max(4, Math.min(size().width - tip.offsetWidth - 4, x - tip.offsetWidth / 2))}px`;
    tip.style.top = `${y < 44 ? y + 14 : y - 34}px`;
  }
  paint();
}

function release(event) {
  const moved = pressed?.moved;
  pressed = null;
  if (moved) return;
  const at = nearest(event.offsetX, event.offsetY, 18);
  if (at >= 0) change({ item: String(points.items[at]) });
}

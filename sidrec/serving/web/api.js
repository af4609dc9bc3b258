// Calls of the server; the token, where it wants one, lives as long as the tab.
import { byId } from "./dom.js";

class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

let asking = null;

async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    asking ??= askForToken().finally(() => (asking = null));
    await asking;
    return call(path, options);
  }
  let said = {};
  try {
    said = await response.json();
  } catch {
    said = { error: `the server answered with status ${response.status}` };
  }
  if (!response.ok) throw new Refused(response.status, said.error);
  return said;
}

function askForToken() {
  const dialog = byId("token");
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        sessionStorage.setItem("token", byId("token-text").value.trim());
        resolve();
      },
      { once: true },
    );
    dialog.showModal();
  });
}

const post = (path, body, signal) =>
  call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
const named = (id) => encodeURIComponent(id);

export const about = () => call("/v1/about");
export const explain = (request, signal) => post("/v1/explain", request, signal);
export const recommend = (request, signal) =>
  post("/v1/recommend", { requests: [request] }, signal).then(({ results }) => results[0]);
export const baselines = (request, signal) => post("/v1/baselines", request, signal);
export const find = (query, signal) =>
  call(`/v1/items?limit=8&query=${encodeURIComponent(query)}`, { signal });
export const item = (id) => call(`/v1/items/${named(id)}`);
export const neighbours = (id) => call(`/v1/neighbours/${named(id)}`);
export const codes = (prefix) => call(["/v1/codes", ...prefix].join("/"));
export const map = () => call("/v1/map");

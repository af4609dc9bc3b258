// Titles of items that the page has met, by id.
import * as api from "./api.js";

const titles = new Map();

export function meet(items) {
  for (const { id, title } of items) titles.set(String(id), title);
}

export const known = (id) => titles.has(String(id));
export const title = (id) => titles.get(String(id)) || `item ${id}`;

/** Asks for titles that are not known; an id that no item has keeps its id. */
export async function learn(ids) {
  const missing = [...new Set(ids.map(String))].filter((id) => !titles.has(id));
  await Promise.all(
    missing.map((id) =>
      api.item(id).then(
        (item) => titles.set(id, item.title),
        () => titles.set(id, `${id} (unknown)`),
      ),
    ),
  );
  return missing.length > 0;
}

// The beam: for each level the prefixes that survive, as bars of their probability.
import { bar, byId, coded, count, make, meaning, number, percent, titled } from "./dom.js";
import { change, state } from "./state.js";

const FEW = matchMedia("(max-width: 620px)").matches ? 5 : 8;
const panel = byId("beam");
const open = new Set(); // levels that show all of their prefixes

export function draw(explanation) {
  const levels = explanation.levels.map((level, at) => levelOf(level, at, explanation));
  const again = explanation.again_probability;
  if (again !== null) {
    const text = `An item of the history comes again with p = ${percent(again)}; the beams lead to something new.`;
    levels.unshift(make("p", { class: "sum", text }));
  }
  panel.replaceChildren(...levels);
}

function levelOf(level, at, explanation) {
  const most = Math.max(...level.kept.map(weight), ...level.removed.map(weight), 1e-12);
  const shown = open.has(at) ? level.kept : level.kept.slice(0, FEW);
  const more = level.kept.length - FEW;
  return make(
    "section",
    { class: "level", "aria-label": `Level ${at + 1}` },
    make("h3", { text: `Level ${at + 1}` }),
    make("p", { class: "sum", text: summary(level) }),
    make("ol", { class: "bars" }, ...shown.map((prefix) => row(prefix, most))),
    more > 0
      ? make("button", {
          type: "button",
          class: "quiet",
          "aria-expanded": String(open.has(at)),
          text: open.has(at) ? "Show fewer" : `Show ${number(more)} more`,
          click: () => {
            if (!open.delete(at)) open.add(at);
            draw(explanation);
            panel.querySelectorAll(".level")[at].querySelector(".quiet").focus();
          },
        })
      : null,
    removed(level, most),
  );
}

const weight = (prefix) => prefix.probability ?? Math.exp(prefix.score);

function summary(level) {
  if (!level.kept.length) return "Nothing is left: the filters remove everything.";
  const kept = count(level.kept.length, "prefix").replace("prefixs", "prefixes");
  if (level.kept_probability === null) return kept;
  return `${kept} ${level.kept.length === 1 ? "holds" : "hold"} ${percent(level.kept_probability)} of the probability`;
}

function row(prefix, most, kind = "") {
  const said = meaning(prefix);
  const examples = prefix.examples.map(titled).join(" · ");
  const lit = state.prefix && coded(state.prefix) === coded(prefix.codes);
  const p = prefix.probability === null ? prefix.score.toFixed(2) : percent(prefix.probability);
  return make(
    "li",
    {},
    make(
      "button",
      {
        type: "button",
        class: `row ${kind}`,
        "aria-pressed": String(Boolean(lit)),
        click: () => change({ prefix: lit ? null : prefix.codes }),
      },
      make("span", { class: "code", text: coded(prefix.codes) }),
      make("span", { class: "p", text: p }),
      make("span", { class: "track" }, bar(weight(prefix) / most, kind)),
      make("span", {
        class: "what",
        text:
          prefix.items === 1
            ? titled(prefix.examples[0])
            : `${count(prefix.items, "item")}: ${examples}`,
      }),
      said ? make("span", { class: "mean", text: said }) : null,
    ),
  );
}

function removed(level, most) {
  if (!level.num_removed) return null;
  const p = level.removed_probability === null ? "" : `, ${percent(level.removed_probability)}`;
  const some =
    level.removed.length < level.num_removed ? ` (the ${level.removed.length} likeliest)` : "";
  const title = `Removed by the filter: ${number(level.num_removed)}${p}${some}`;
  return make(
    "details",
    { class: "removed" },
    make("summary", { text: title }),
    make("ol", { class: "bars" }, ...level.removed.map((prefix) => row(prefix, most, "gone"))),
  );
}

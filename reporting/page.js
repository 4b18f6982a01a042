const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let sections = [], section = null, current = null;

const make = (name, attributes = {}, text = "") => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
};
const draw = (parent, name, attributes, text = "") => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  parent.append(node);
  return node;
};

// Tables: a button in each head sorts by its column; gaps stay last in both directions.
const valueOf = (row, column) => {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  if (text === "" || text === "–") return null;
  const number = Number(text);
  return Number.isNaN(number) ? text : number;
};
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
const sortBy = (table, column, direction) => {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : direction * compare(a, b)));
  body.append(...rows.map(([, row]) => row));
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    if (index === column) cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  });
};
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = make("button", { type: "button" }, cell.textContent);
    cell.replaceChildren(button);
    button.addEventListener("click", () => {
      const numbers = [...table.tBodies[0].rows].some((row) => typeof valueOf(row, column) === "number");
      const now = cell.getAttribute("aria-sort");
      sortBy(table, column, now ? (now === "ascending" ? -1 : 1) : numbers ? -1 : 1);
    });
  });
}

// Clips: the data of a run and machine type come as a script, for a page from disk may not fetch.
const options = (select, values) =>
  select.replaceChildren(...values.map(([value, text]) => make("option", { value }, text)));
const verdict = (clip) => {
  if (clip.label === null || clip.decision === null) return "";
  if (clip.label) return clip.decision ? "hit" : "miss";
  return clip.decision ? "false alarm" : "correctly normal";
};
const labelOf = (clip) => (clip.label === null ? "" : clip.label ? "anomaly" : "normal");
const decisionOf = (clip) => (clip.decision === null ? "" : clip.decision ? "anomaly" : "normal");
const short = (number) => Number(number.toPrecision(5)).toString();

const chooseRun = () => {
  const run = about.runs[$("run").value];
  const before = $("machine").value;
  options($("machine"), Object.keys(run.data).map((name) => [name, name]));
  if (before in run.data) $("machine").value = before;
  load();
};
const load = () => {
  const run = about.runs[$("run").value], file = run.data[$("machine").value];
  $("status").textContent = "Loading …";
  const script = make("script", { src: file });
  script.onerror = () => { $("status").textContent = `${decodeURI(file)} is missing: the report's folder is not whole.`; };
  script.onload = () => script.remove();
  document.head.append(script);
};
const take = (file, list) => {
  if (about.runs[$("run").value].data[$("machine").value] !== file) return;
  const before = $("section").value;
  sections = list;
  options($("section"), list.map((one) => [one.section, one.section]));
  if (list.some((one) => one.section === before)) $("section").value = before;
  chooseSection();
};
const chooseSection = () => {
  const name = current && current.name;
  section = sections.find((one) => one.section === $("section").value);
  const rows = section.clips.map((clip) => {
    const row = make("tr"), cell = make("td"), outcome = verdict(clip);
    const button = make("button", { type: "button" }, clip.name);
    button.addEventListener("click", () => choose(clip, row));
    cell.append(button);
    cell.dataset.value = clip.name;
    const score = make("td", { "data-value": clip.score }, short(clip.score));
    row.append(cell, make("td", {}, outcome), score, make("td", {}, decisionOf(clip)), make("td", {}, labelOf(clip)), make("td", {}, clip.domain ?? ""));
    if (outcome === "miss" || outcome === "false alarm") row.className = "wrong";
    return row;
  });
  const table = $("clips");
  table.tBodies[0].replaceChildren(...rows);
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  const count = (outcome) => section.clips.filter((clip) => verdict(clip) === outcome).length;
  const judged = section.clips.some(verdict);
  $("status").textContent = `${section.clips.length} clips` +
    (judged ? `: ${count("false alarm")} false alarms, ${count("miss")} misses, ${count("hit")} hits, ${count("correctly normal")} correctly normal` : "") +
    (section.threshold === null ? "; no threshold known" : `; threshold ${short(section.threshold)} (${section.method})`);
  const again = section.clips.findIndex((clip) => clip.name === name);
  if (again >= 0) choose(section.clips[again], rows[again]);
  else { current = null; $("player").pause(); $("clip").hidden = true; }
};

const choose = (clip, row) => {
  const player = $("player");
  for (const other of $("clips").tBodies[0].rows) other.removeAttribute("aria-current");
  row.setAttribute("aria-current", "true");
  current = clip;
  $("clip").hidden = false;
  $("clip-name").textContent = clip.name;
  const outcome = verdict(clip), parts = [`Score ${short(clip.score)}`];
  if (section.threshold !== null) parts.push(`${clip.score > section.threshold ? "above" : "not above"} the threshold ${short(section.threshold)}`);
  if (clip.label !== null) parts.push(`it is ${clip.label ? "an anomaly" : "normal"}`);
  $("clip-summary").textContent = parts.join(", ") + (outcome ? `: ${outcome}.` : ".");
  player.hidden = !clip.audio;
  if (!clip.audio) player.removeAttribute("src");
  else if (player.getAttribute("src") !== clip.audio) player.src = clip.audio;
  $("clip-note").textContent = clip.audio === undefined ? "The clip was not found when this page was made." :
    !clip.audio ? "A signal, no sound file: there is nothing to play." :
    clip.copied ? "" : "Linked where it lay when this page was made; it plays while it lies there." + (clip.spectrogram ? "" : " No pictures were drawn of it, see above.");
  drawStrip();
  const run = about.runs[$("run").value].name;
  show("spectrogram", clip.spectrogram, `Spectrogram of ${clip.name}`);
  show("map", clip.map, `Anomaly map of ${clip.name} by ${run}`);
  for (const span of document.querySelectorAll(".seconds")) span.textContent = clip.seconds ? `${short(clip.seconds)} s.` : "";
  drawCurve(clip, run);
  tick();
};
const show = (id, file, alt) => {
  $(`${id}-figure`).hidden = !file;
  if (file) { $(id).src = file; $(id).alt = alt; } else $(id).removeAttribute("src");
};
const drawStrip = () => {
  const svg = $("strip"), scores = section.clips.map((clip) => clip.score);
  if (section.threshold !== null) scores.push(section.threshold);
  const low = Math.min(...scores), high = Math.max(...scores);
  const at = (score) => 12 + (576 * (score - low)) / (high - low || 1);
  svg.replaceChildren();
  draw(svg, "line", { class: "axis", x1: 0, x2: 600, y1: 28, y2: 28 });
  for (const clip of section.clips) {
    draw(svg, "circle", { class: labelOf(clip) || "unknown", cx: at(clip.score), cy: clip.label ? 38 : 18, r: 4, "fill-opacity": 0.6 });
  }
  if (section.threshold !== null) draw(svg, "line", { class: "threshold", x1: at(section.threshold), x2: at(section.threshold), y1: 4, y2: 50 });
  draw(svg, "circle", { class: "this", cx: at(current.score), cy: current.label ? 38 : 18, r: 8 });
  draw(svg, "text", { x: 0, y: 62 }, short(low));
  draw(svg, "text", { x: 600, y: 62, "text-anchor": "end" }, short(high));
  svg.setAttribute("aria-label", $("clip-summary").textContent + ` Scores of the section from ${short(low)} to ${short(high)}.`);
};
const drawCurve = (clip, run) => {
  const values = clip.curve;
  $("curve-figure").hidden = !values;
  if (!values) return;
  const low = Math.min(...values), high = Math.max(...values), svg = $("curve");
  const points = values.map((value, index) => {
    const x = (600 * (index + 0.5)) / values.length, y = 86 - (82 * (value - low)) / (high - low || 1);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  svg.replaceChildren();
  draw(svg, "path", { d: "M" + points.join("L") });
  svg.setAttribute("aria-label", `Score over time of ${clip.name} by ${run}, from ${short(low)} to ${short(high)}`);
  $("curve-range").textContent = `From ${short(low)} to ${short(high)}.`;
};
const tick = () => {
  const player = $("player"), length = player.duration || (current && current.seconds) || 1;
  for (const line of document.querySelectorAll(".playhead")) line.style.left = `${(100 * player.currentTime) / length}%`;
  if (!player.paused) requestAnimationFrame(tick);
};

for (const list of document.querySelectorAll(".ticks")) {
  for (const [text, share] of about.ticks) {
    const item = make("li", {}, text);
    item.style.bottom = `${100 * share}%`;
    list.append(item);
  }
}
for (const name of ["play", "seeked", "pause", "loadedmetadata"]) $("player").addEventListener(name, tick);
for (const image of document.querySelectorAll(".image")) {
  image.addEventListener("click", (event) => {
    const player = $("player"), box = image.getBoundingClientRect();
    if (player.duration) player.currentTime = (player.duration * (event.clientX - box.left)) / box.width;
  });
}
$("player").addEventListener("error", () => {
  if ($("player").getAttribute("src")) $("clip-note").textContent = "The clip cannot be played: it is gone from where it lay, or this browser cannot play it.";
});
$("clips").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], row = event.target.closest("tbody tr");
  if (!step || !row) return;
  event.preventDefault();
  const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
  if (next) { next.querySelector("button").focus(); next.querySelector("button").click(); }
});
$("run").addEventListener("change", chooseRun);
$("machine").addEventListener("change", load);
$("section").addEventListener("change", chooseSection);
options($("run"), about.runs.map((run, index) => [index, run.name]));
chooseRun();

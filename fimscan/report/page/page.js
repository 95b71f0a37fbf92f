// Draws the HTML page from its data (fimscan/report/page/rows.py). Plain JavaScript, no library.
//
// - Texts come as they are to be shown; they are only ever set as textContent, so nothing in a name becomes markup.
// - The lists have tens of thousands of items. List draws those that are in sight, and knows the height of the others.
// - Everything shown follows from `filter` and `opened`; apply() computes it anew whenever one of them changes.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows;
const count = rows.number.length;
const $ = (id) => document.getElementById(id);
const narrow = matchMedia("(max-width: 700px)");

/** An element with attributes and children; text is text. Unknown keys are attributes. */
function el(tag, options, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

const number = (value) => value.toLocaleString("en-US");
const plural = (value, word) => `${number(value)} ${word}${value === 1 ? "" : "s"}`;
/** A time of the data as RFC 3339 UTC. Beyond what a Date can hold, the nearest that it can. */
const iso = (ms) => new Date(Math.max(-8.64e15, Math.min(8.64e15, ms + data.base))).toISOString();
const minute = (ms) => iso(ms).slice(0, 16).replace("T", " ");
const command = (words) => `${data.program} ${words}`;

// ---------------------------------------------------------------------------------------------------------------
// Rows

const paths = Array.from({ length: count }, (_, i) => data.directories[rows.directory[i]] + rows.name[i]);
const verdictOf = data.answers.map((answer) => data.verdicts.indexOf(answer[0]));
const isLook = (i) => i < data.standing_out; // rows that stand out come first
const members = new Map(data.sets.map((set) => [set.number, []]));
for (let i = 0; i < count; i++) members.get(rows.set[i]).push(i);

/** "2026-11-30T02:04:46.525Z event 1796004286.525:1664982" of a pair, or the text that is there. */
function eventTexts(events) {
  const texts = [];
  for (let k = 0; k < events.length; k++) {
    if (typeof events[k] === "string") texts.push(events[k]);
    else {
      const ms = events[k] + data.base;
      const seconds = Math.floor(ms / 1000);
      texts.push(`${iso(events[k])} event ${seconds}.${String(ms - seconds * 1000).padStart(3, "0")}:${events[k + 1]}`);
      k++;
    }
  }
  return texts;
}

/** What is said of one answer: a verdict, a sentence or a process, doubts. */
function answerNodes(answer, events, brief) {
  const [verdict, code, introduction, processes, doubts] = answer;
  // The line above a brief answer has the verdict.
  const badge = brief ? "" : [el("span", { class: `verdict ${verdict}` }, code), " "];
  const process = (place, k) => {
    const [name, acts, user, where, line, cwd] = data.processes[place];
    const times = eventTexts(events[k] ?? []);
    if (brief) return `${name} ${acts}, ${user}${times.length ? `, ${times.at(-1).split(" ")[0]}` : ""}`;
    return [
      `${name} ${acts}`,
      el("div", { class: "soft" }, [user, where, ...times].filter(Boolean).join(", ")),
      line === null ? null : el("div", null, el("code", null, `${cwd ?? ""}$ ${line}`)),
    ];
  };
  const nodes = [];
  if (introduction === null && processes.length) nodes.push(el("div", null, badge, process(processes[0], 0)));
  else {
    nodes.push(el("div", null, badge, introduction ?? ""));
    if (processes.length) nodes.push(el("ul", null, processes.map((place, k) => el("li", null, process(place, k)))));
  }
  if (!brief) nodes.push(...doubts.map((doubt) => el("div", { class: "soft" }, doubt)));
  return nodes;
}

const rankOf = (i) => (rows.rank[i] < 0 ? [[], 0, []] : data.ranks[rows.rank[i]]);
const packageOf = (i) => data.packages[rows.package[i]];
const decisionOf = (i) => data.decisions[rows.decision[i]];
const answerOf = (i) => data.answers[rows.answer[i]];

/** What was decided about a row, or expected of it, and who still runs the old content. */
function standingNodes(i) {
  const [facts, planned, isViolation] = decisionOf(i);
  const [running, isOld] = data.running[i] ?? [[], false];
  return [
    facts.length ? el("div", isViolation ? { class: "loud" } : null, facts.join(", ")) : null,
    planned ? el("div", null, planned) : null,
    ...running.map((words) => el("div", isOld ? { class: "restart" } : null, words)),
  ];
}

/** The program of the first process, to be seen without opening a row. */
function programOf(i) {
  const processes = answerOf(i)[3];
  return processes.length ? data.processes[processes[0]][0].split(" (pid")[0].split("/").at(-1) : "";
}

/** What stands out, with who did it: below the path in the first list. */
function briefNodes(i) {
  const [words, deciding] = rankOf(i);
  const [text, loud] = packageOf(i);
  const answer = answerOf(i);
  return [
    el("div", null, el("span", { class: "reasons" }, words.slice(0, deciding).join(", ")), el("span", { class: "mono" }, rows.differences[i] ? ` · ${rows.differences[i].split("\n").join(", ")}` : "")),
    loud ? el("div", { class: "loud" }, `package: ${text}`) : null,
    ...(data.warnings[i] ?? []).map((warning) => el("div", { class: "loud" }, warning)),
    ...standingNodes(i),
    ...(data.steps[i] ? [el("div", null, `changed ${data.steps[i].length} times`)] : []),
    ...answerNodes(answer, rows.events[i], true),
  ];
}

// ---------------------------------------------------------------------------------------------------------------
// Evidence: unpacked when one of its rows is opened

const unpacked = new Map();

/** The evidence of a row; null if the page has none of it. */
async function evidenceOf(i) {
  if (i >= data.explained) return null;
  const chunk = Math.floor(i / data.chunk);
  if (!unpacked.has(chunk)) {
    const bytes = Uint8Array.from(atob($(`evidence-${chunk}`).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    unpacked.set(chunk, new Response(stream).json());
  }
  return (await unpacked.get(chunk))[i % data.chunk];
}

const section = (title, ...nodes) => [el("h3", null, title), ...nodes];
const list = (sentences) => el("ul", null, sentences.map((sentence) => el("li", null, sentence)));

/** Everything about a row that is known without its evidence. */
function detailNodes(i) {
  const [words, , techniques] = rankOf(i);
  const [text, loud] = packageOf(i);
  const differences = rows.differences[i] ? rows.differences[i].split("\n") : [];
  // The text of a button cannot be selected everywhere; this is the path to copy.
  const nodes = [el("div", { class: "path" }, paths[i], rows.number[i] ? el("span", { class: "soft" }, ` #${rows.number[i]}`) : "")];
  if (words.length) nodes.push(...section("Rank", el("div", null, words.join(", "), techniques.length ? el("span", { class: "soft" }, ` · ATT&CK ${techniques.join(", ")}`) : "")));
  nodes.push(...section("Differences", el("ul", { class: "mono" }, differences.map((one) => el("li", null, one)))));
  nodes.push(el("div", { class: "text-place" }));
  if (text) nodes.push(...section("Package", el("div", loud ? { class: "loud" } : null, text)));
  const standing = standingNodes(i).filter(Boolean);
  if (standing.length) nodes.push(...section("Decision, plan and effect", ...standing));
  nodes.push(el("h3", null, "Who"));
  nodes.push(...(data.warnings[i] ?? []).map((warning) => el("div", { class: "loud" }, warning)));
  if (data.steps[i]) {
    const answer = answerOf(i);
    nodes.push(el("div", null, el("span", { class: `verdict ${answer[0]}` }, answer[1]), ` changed ${data.steps[i].length} times`));
    nodes.push(el("ol", null, data.steps[i].map(([scan, kind, change, what, answer, events]) => el("li", null,
      el("span", { class: "mono" }, `scan ${scan}: ${data.kinds[kind]}${change ? ` #${change}` : ""}, ${what.split("\n").join(", ")}`),
      answerNodes(data.answers[answer], events, false)))));
  } else nodes.push(...answerNodes(answerOf(i), rows.events[i], false));
  return nodes;
}

function evidenceNodes(i, evidence) {
  const why = rows.number[i] ? command(`explain ${rows.number[i]}`) : "";
  if (evidence === null) {
    return [el("p", { class: "note" }, `Recorded states, reasoning and audit records are on this page for the ${number(data.explained)} most urgent changes. For this one: `, el("code", null, why || command(`diff${data.filters} --format json`)))];
  }
  const nodes = [];
  if (evidence.states.length) {
    nodes.push(...section("All that is recorded", el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "All that is recorded" }, el("table", null,
      el("tr", null, el("td", null), el("th", { scope: "col" }, "before"), el("th", { scope: "col" }, "after")),
      evidence.states.map(([name, before, after]) => el("tr", null, el("th", { scope: "row" }, name), el("td", null, before), el("td", before === after ? null : { class: "differs" }, after)))))));
  }
  for (const one of evidence.reasoning) {
    nodes.push(el("h3", null, one.title ? `Reasoning: ${one.title}` : "Reasoning"));
    for (const [title, sentences] of one.before) nodes.push(el("h4", null, title), list(sentences));
    if (one.considered) {
      const [heading, rulings, note] = one.considered;
      nodes.push(el("h4", null, heading));
      nodes.push(rulings.length ? el("ul", null, rulings.map(([mark, words, reason]) => el("li", null, el("span", { class: `mark ${mark}` }, mark), ` ${words}`, el("div", { class: "soft" }, reason)))) : el("p", null, "no recorded access concerns this file or its name"));
      if (note) nodes.push(el("p", { class: "soft" }, note));
    } else nodes.push(el("p", { class: "soft" }, "The processes considered are not stored: an earlier version of fimscan gave this verdict."));
    for (const [title, sentences] of one.after) nodes.push(el("h4", null, title), list(sentences));
    if (one.records.length) nodes.push(el("h4", null, "Audit records of the named processes"), el("pre", { tabindex: 0 }, one.records.join("\n")));
  }
  if (!evidence.reasoning.length) nodes.push(el("p", { class: "note" }, why ? ["Reasoning and audit records: ", el("code", null, why)] : "No reasoning is stored for this change."));
  return nodes;
}

/** The lines of a unified diff. */
function textNodes(lines) {
  const kind = (line) => ({ "+": "insert", "-": "delete", "@": "place" })[line[0]];
  return section("Text", el("pre", { tabindex: 0 }, lines.map((line) => el("span", { class: kind(line) }, `${line}\n`))));
}

// ---------------------------------------------------------------------------------------------------------------
// Lists that draw only what is in sight

/** Heights of items, with sums and the item at a height in logarithmic time (a Fenwick tree). */
class Heights {
  constructor(heights) {
    this.heights = heights;
    this.tree = new Float64Array(heights.length + 1);
    for (let i = 1; i < this.tree.length; i++) {
      this.tree[i] += heights[i - 1];
      const above = i + (i & -i);
      if (above < this.tree.length) this.tree[above] += this.tree[i];
    }
  }
  set(index, height) {
    const more = height - this.heights[index];
    this.heights[index] = height;
    for (let i = index + 1; i < this.tree.length; i += i & -i) this.tree[i] += more;
  }
  /** The height of all items before one. */
  before(index) {
    let sum = 0;
    for (let i = index; i > 0; i -= i & -i) sum += this.tree[i];
    return sum;
  }
  /** The item at a height. */
  at(height) {
    let index = 0;
    for (let step = 1 << 30; step; step >>= 1) {
      if (index + step < this.tree.length && this.tree[index + step] <= height) {
        index += step;
        height -= this.tree[index];
      }
    }
    return Math.min(index, this.heights.length - 1);
  }
}

const BEYOND = 400; // pixels above and below the window that are drawn, too
const FEW = 200; // so many items are all drawn: the browser's own search finds them

/**
 * A list of items, each a key (a string). `draw(key)` makes the element of an item, whose first child is its button.
 * One item is the tab stop of the whole list; the arrow keys move it.
 */
class List {
  constructor(place, { draw, estimate, label, key }) {
    Object.assign(this, { place, draw, estimate, label, onKey: key });
    this.drawn = new Map();
    this.known = new Map(); // heights that were measured, by key
    this.items = [];
    this.active = null;
    place.classList.add("list");
    place.addEventListener("keydown", (event) => this.keydown(event));
    place.addEventListener("focusin", (event) => {
      const item = event.target.closest(".item");
      if (item) this.activate(item.dataset.key);
    });
  }
  /** Show these items. Elements of items that stay are kept, with what has the focus in them. */
  show(items) {
    this.items = items;
    this.indexes = new Map(items.map((key, i) => [key, i]));
    this.heights = new Heights(Float64Array.from(items, (key) => this.known.get(key) ?? this.estimate(key)));
    if (this.active === null || !this.indexes.has(this.active)) this.active = items[0] ?? null;
    // A list without items has no role: it would lack what a list needs.
    for (const [name, value] of [["role", "list"], ["aria-label", this.label]]) {
      if (items.length) this.place.setAttribute(name, value);
      else this.place.removeAttribute(name);
    }
    this.render();
  }
  /** Forget what was measured: the width changed. */
  forget() {
    this.known.clear();
    this.redraw();
  }
  /** Draw all items in sight anew. */
  redraw() {
    for (const node of this.drawn.values()) node.remove();
    this.drawn.clear();
    this.show(this.items);
  }
  /** Draw one item anew, keeping the focus on its button. */
  refresh(key) {
    const node = this.drawn.get(key);
    if (!node) return;
    const had = node.contains(document.activeElement);
    node.remove();
    this.drawn.delete(key);
    this.render();
    if (had) this.drawn.get(key)?.firstChild.focus({ preventScroll: true });
  }
  render() {
    const top = this.place.getBoundingClientRect().top;
    const total = this.heights.before(this.items.length);
    const from = Math.max(0, -top - BEYOND);
    const to = Math.min(total, innerHeight - top + BEYOND);
    const wanted = new Set();
    if (this.items.length <= FEW) this.items.forEach((_, i) => wanted.add(i));
    else if (to > from) {
      for (let i = this.heights.at(from); i < this.items.length && this.heights.before(i) < to; i++) wanted.add(i);
    }
    // The tab stop stays in the page, or the list could not be reached by Tab any more.
    if (this.active !== null && this.items.length) wanted.add(this.indexes.get(this.active));
    for (const [key, node] of this.drawn) {
      if (!wanted.has(this.indexes.get(key))) {
        node.remove();
        this.drawn.delete(key);
      }
    }
    let previous = null;
    for (const index of [...wanted].sort((a, b) => a - b)) {
      const key = this.items[index];
      let node = this.drawn.get(key);
      if (!node) {
        node = this.draw(key);
        node.classList.add("item");
        node.dataset.key = key;
        node.setAttribute("role", "listitem");
        this.drawn.set(key, node);
      }
      // Elements are in the order of the list, which is that of a screen reader and of Tab.
      const next = previous === null ? this.place.firstChild : previous.nextSibling;
      if (node !== next) this.place.insertBefore(node, next);
      previous = node;
      node.setAttribute("aria-posinset", index + 1);
      node.setAttribute("aria-setsize", this.items.length);
      node.firstChild.tabIndex = key === this.active ? 0 : -1;
    }
    this.measure(top);
  }
  /** Put drawn items in their places, by the heights that they have. What is in sight does not move. */
  measure(top) {
    const anchor = this.items.length && top < 0 ? this.heights.at(-top) : 0;
    const was = this.heights.before(anchor);
    let changed = false;
    for (const [key, node] of this.drawn) {
      const height = node.getBoundingClientRect().height;
      const index = this.indexes.get(key);
      if (Math.abs(height - this.heights.heights[index]) > 0.5) {
        this.heights.set(index, height);
        this.known.set(key, height);
        changed = true;
      }
    }
    for (const [key, node] of this.drawn) node.style.top = `${this.heights.before(this.indexes.get(key))}px`;
    this.place.style.height = `${this.heights.before(this.items.length)}px`;
    const moved = this.heights.before(anchor) - was;
    if (Math.abs(moved) > 0.5) scrollBy(0, moved);
    if (changed) requestAnimationFrame(() => this.render()); // more, or fewer, are in sight now
  }
  activate(key) {
    if (key === this.active) return;
    const old = this.drawn.get(this.active);
    if (old) old.firstChild.tabIndex = -1;
    this.active = key;
    const node = this.drawn.get(key);
    if (node) node.firstChild.tabIndex = 0;
  }
  /** Move the focus to an item, and the window if it is not in sight. */
  focus(index) {
    const key = this.items[Math.max(0, Math.min(index, this.items.length - 1))];
    if (key === undefined) return;
    this.activate(key);
    const top = this.place.getBoundingClientRect().top + this.heights.before(this.indexes.get(key));
    const bar = getComputedStyle($("filters")).position === "sticky" ? $("filters").offsetHeight : 0;
    const height = Math.min(this.heights.heights[this.indexes.get(key)], 60);
    if (top < bar + 4) scrollBy(0, top - bar - 4);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight + 20);
    this.render();
    this.drawn.get(key).firstChild.focus({ preventScroll: true });
  }
  keydown(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const item = event.target.closest(".item");
    if (!item) return;
    const index = this.indexes.get(item.dataset.key);
    const onButton = event.target === item.firstChild;
    const moves = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: this.items.length - 1 };
    if (onButton && event.key in moves) {
      this.focus(moves[event.key]);
      event.preventDefault();
    } else if (this.onKey(event, item.dataset.key, onButton, this)) event.preventDefault();
  }
}

// ---------------------------------------------------------------------------------------------------------------
// State

const ROW = 34, SET = 36, LOOK = 84; // heights until they are measured, in pixels
const opened = { look: new Set(), changes: new Set(), sets: new Set() };
const filter = { words: [], verdicts: new Set(), severities: new Set(), kinds: new Set(), look: false, time: null, directory: null };
let view = "sets";
let visible = [];

function rowHead(i, isOpen) {
  const answer = answerOf(i);
  const severity = data.severities[rows.severity[i]];
  const change = rows.number[i] ? `#${rows.number[i]}` : "";
  return el("button", { class: "head", type: "button", "aria-expanded": String(isOpen) },
    el("span", { class: "kind" }, data.kinds[rows.kind[i]], narrow.matches && severity ? el("span", { class: `severity short ${severity}` }, ` ${severity}`) : ""),
    el("span", { class: `severity ${severity}` }, severity),
    el("span", { class: "path" }, el("span", { class: "dir" }, data.directories[rows.directory[i]]), el("span", { class: "name" }, rows.name[i])),
    el("span", { class: "right" },
      el("span", { class: "who" }, programOf(i)),
      el("span", { class: "soft number" }, change),
      el("span", { class: `verdict ${answer[0]}` }, answer[1])));
}

function drawRow(listName, i) {
  const isOpen = opened[listName].has(i);
  const node = el("div", { class: isOpen ? "opened" : "" }, rowHead(i, isOpen));
  node.firstChild.addEventListener("click", () => toggleRow(listName, i));
  if (listName === "look" && !isOpen) node.append(el("div", { class: "brief" }, briefNodes(i)));
  if (isOpen) {
    const place = el("div", null, el("p", { class: "soft" }, i < data.explained ? "unpacking ..." : ""));
    const detail = el("div", { class: "detail", role: "group", "aria-label": `Details of ${paths[i]}` }, detailNodes(i), place);
    node.append(detail);
    evidenceOf(i).then(
      (evidence) => {
        place.replaceChildren(...evidenceNodes(i, evidence));
        if (evidence?.text) detail.querySelector(".text-place").replaceChildren(...textNodes(evidence.text));
      },
      (error) => place.replaceChildren(el("p", { class: "loud" }, `The evidence cannot be unpacked in this browser (${error}). See: `, el("code", null, command(`explain ${rows.number[i]}`)))),
    ).then(() => lists[listName].render());
  }
  return node;
}

function toggleRow(listName, i) {
  const those = opened[listName];
  if (!those.delete(i)) those.add(i);
  lists[listName].refresh(rowKey(i));
}

function drawSet(n) {
  const set = data.sets[n];
  const isOpen = opened.sets.has(n);
  const all = members.get(set.number).length;
  const now = shownOf.get(set.number)?.length ?? 0;
  const looks = members.get(set.number).filter(isLook).length;
  const amount = now === all ? number(all) : `${number(now)}/${number(all)}`;
  const tail = set.tail.filter((words) => !(looks && words.endsWith(" above")));
  const node = el("div", { class: isOpen ? "opened" : "" }, el("button", { class: "head set", type: "button", "aria-expanded": String(isOpen), "aria-label": `Set ${set.number}, ${plural(now, "change")}: ${set.title}${tail.length ? `; ${tail.join(", ")}` : ""}${looks ? `; ${number(looks)} above` : ""}` },
    el("span", { class: "number" }, String(set.number)),
    el("span", { class: "amount" }, amount),
    el("span", { class: "title" }, set.title, tail.length ? el("span", { class: "tail" }, `; ${tail.join(", ")}`) : "", looks ? el("span", { class: "loud" }, `; ${number(looks)} above`) : "")));
  node.firstChild.addEventListener("click", () => toggleSet(n));
  if (isOpen) {
    const accept = data.shown ? `accept --set ${set.number} --shown ${data.shown}` : `diff${data.filters} --set ${set.number}`;
    node.append(el("div", { class: "detail" },
      set.roots.map(([who, line]) => el("div", null, who, line ? el("div", null, el("code", null, line)) : "")),
      el("div", { class: "soft" }, `${iso(set.span[0])} to ${iso(set.span[1])}`),
      el("div", { class: "soft" }, data.shown ? "Accept no more than this: " : "As text: ", el("code", null, command(accept)))));
  }
  return node;
}

function toggleSet(n) {
  if (!opened.sets.delete(n)) opened.sets.add(n);
  showChanges();
  lists.changes.refresh(setKey(n));
}

const rowKey = (i) => `r${i}`;
const setKey = (n) => `s${n}`;
const isSet = (key) => key[0] === "s";
const placeOf = (key) => Number(key.slice(1));

/** Left, Right and Escape on an item; whether they did something. */
function listKey(listName) {
  return (event, key, onButton, list) => {
    const place = placeOf(key);
    const those = isSet(key) ? opened.sets : opened[listName];
    const toggle = () => (isSet(key) ? toggleSet(place) : toggleRow(listName, place));
    if (event.key === "Escape" && those.has(place)) {
      toggle();
      list.focus(list.indexes.get(key));
      return true;
    }
    if (!onButton) return false;
    if (event.key === "ArrowRight" && !those.has(place)) {
      toggle();
      return true;
    }
    if (event.key === "ArrowLeft") {
      if (those.has(place)) toggle();
      else if (!isSet(key) && listName === "changes" && view === "sets") list.focus(list.indexes.get(setKey(setIndex.get(rows.set[place]))));
      return true;
    }
    return false;
  };
}

const setIndex = new Map(data.sets.map((set, n) => [set.number, n]));
const lists = {
  look: new List($("look-list"), { label: "Changes that stand out", draw: (key) => drawRow("look", placeOf(key)), estimate: () => LOOK, key: listKey("look") }),
  changes: new List($("change-list"), {
    label: "Change sets and changes",
    draw: (key) => {
      if (isSet(key)) return drawSet(placeOf(key));
      const node = drawRow("changes", placeOf(key));
      node.classList.toggle("in-set", view === "sets");
      return node;
    },
    estimate: (key) => (isSet(key) ? SET : ROW),
    key: listKey("changes"),
  }),
};
$("look-list").classList.add("look");

// ---------------------------------------------------------------------------------------------------------------
// Filters

const FACETS = [
  { name: "verdicts", label: "Verdict", values: data.verdicts, of: (i) => verdictOf[rows.answer[i]] },
  { name: "severities", label: "Severity", values: data.severities, of: (i) => rows.severity[i] },
  { name: "kinds", label: "Kind", values: data.kinds, of: (i) => rows.kind[i] },
];
const facetOf = FACETS.map((facet) => Uint8Array.from({ length: count }, (_, i) => facet.of(i)));
const lowered = paths.map((path) => path.toLowerCase());
const chips = new Map();
const lookChip = { button: null, count: null };

/** For each value of a table, whether its texts have a word. */
const having = (table, word) => table.map((value) => JSON.stringify(value).toLowerCase().includes(word));
// Tables are searched as they are written: a backslash or quote in a word is looked for in its written form.
const written = (word) => JSON.stringify(word).slice(1, -1);

/** Whether each row has all words of the search. */
function found(words) {
  const matches = new Uint8Array(count).fill(1);
  for (const word of words) {
    if (/^#\d+$/.test(word)) {
      const wanted = Number(word.slice(1));
      for (let i = 0; i < count; i++) if (rows.number[i] !== wanted && !data.steps[i]?.some((step) => step[2] === wanted)) matches[i] = 0;
      continue;
    }
    const processes = having(data.processes, written(word));
    const answers = data.answers.map(([, code, introduction, those]) => code.includes(word) || (introduction ?? "").toLowerCase().includes(word) || those.some((place) => processes[place]));
    const ranks = having(data.ranks, written(word));
    const packages = having(data.packages.map(([text]) => text), written(word));
    const decisions = having(data.decisions.map(([facts, planned]) => [...facts, planned]), written(word));
    for (let i = 0; i < count; i++) {
      if (!matches[i]) continue;
      const rank = rows.rank[i];
      matches[i] = lowered[i].includes(word) || answers[rows.answer[i]] || packages[rows.package[i]] || (rank >= 0 && ranks[rank]) || decisions[rows.decision[i]] || rows.differences[i].toLowerCase().includes(word) || (i in data.running && data.running[i][0].join("\n").toLowerCase().includes(word));
    }
  }
  return matches;
}

let shownOf = new Map();

/** Compute what is to be seen, and show it. */
function apply() {
  const matches = filter.words.length ? found(filter.words) : null;
  const directory = filter.directory;
  const amounts = FACETS.map((facet) => new Uint32Array(facet.values.length));
  let looks = 0;
  const chosen = FACETS.map((facet) => Uint8Array.from(facet.values, (_, k) => filter[facet.name].size === 0 || filter[facet.name].has(k)));
  const result = [];
  for (let i = 0; i < count; i++) {
    if (matches && !matches[i]) continue;
    if (filter.time && (rows.time[i] < filter.time[0] || rows.time[i] > filter.time[1])) continue;
    if (directory !== null && !paths[i].startsWith(directory)) continue;
    // A facet counts what would be seen with each of its values, so its own choice is left out.
    const wanted = filter.look && !isLook(i) ? 8 : 0;
    let refused = wanted;
    for (let f = 0; f < 3; f++) if (!chosen[f][facetOf[f][i]]) refused |= 1 << f;
    for (let f = 0; f < 3; f++) if ((refused & ~(1 << f)) === 0) amounts[f][facetOf[f][i]]++;
    if ((refused & ~8) === 0 && isLook(i)) looks++;
    if (refused === 0) result.push(i);
  }
  visible = result;
  shownOf = new Map();
  for (const i of visible) {
    const set = rows.set[i];
    if (shownOf.has(set)) shownOf.get(set).push(i);
    else shownOf.set(set, [i]);
  }
  FACETS.forEach((facet, f) => facet.values.forEach((_, k) => {
    const chip = chips.get(facet.name)[k];
    if (!chip) return;
    chip.button.setAttribute("aria-pressed", String(filter[facet.name].has(k)));
    chip.button.classList.toggle("none", amounts[f][k] === 0);
    chip.count.textContent = number(amounts[f][k]);
  }));
  lookChip.button.setAttribute("aria-pressed", String(filter.look));
  lookChip.count.textContent = number(looks);
  showChips();
  showLook();
  showChanges(true);
  showTimeline();
  $("status").textContent = isFiltered() ? `${number(visible.length)} of ${plural(count, "change")} match` : "";
}

const isFiltered = () => filter.words.length > 0 || filter.look || filter.time !== null || filter.directory !== null || FACETS.some((facet) => filter[facet.name].size > 0);

function clearFilters() {
  filter.words = [];
  $("search").value = "";
  filter.look = false;
  filter.time = filter.directory = null;
  FACETS.forEach((facet) => filter[facet.name].clear());
  apply();
}

function showLook() {
  const looks = [];
  for (const i of visible) {
    if (!isLook(i)) break; // they come first
    looks.push(rowKey(i));
  }
  const altered = alteredFiles.length;
  const all = count + altered;
  $("look-title").textContent = data.standing_out + altered
    ? `Look at these (${number(looks.length + (isFiltered() ? 0 : altered))} of ${number(all)})`
    : count ? "Nothing stands out by itself" : "Nothing to look at";
  lists.look.show(looks);
  $("look-unreadable").hidden = altered === 0 || isFiltered();
}

function changeItems() {
  if (view === "rows") return visible.map(rowKey);
  const items = [];
  data.sets.forEach((set, n) => {
    const those = shownOf.get(set.number);
    if (!those) return;
    items.push(setKey(n));
    if (opened.sets.has(n)) for (const i of those) items.push(rowKey(i));
  });
  return items;
}

function showChanges(anew) {
  const title = view === "sets" ? `${plural(shownOf.size, "change set")}, ${plural(visible.length, "change")}` : plural(visible.length, "change");
  $("changes-title").textContent = title;
  $("change-list").hidden = view === "tree";
  $("tree").hidden = view !== "tree";
  for (const [name, button] of viewButtons) button.setAttribute("aria-pressed", String(name === view));
  if (view === "tree") {
    showTree();
    lists.changes.show([]);
  } else if (anew) {
    // Numbers of sets change with the filter.
    lists.changes.items = changeItems();
    lists.changes.redraw();
  } else lists.changes.show(changeItems());
}

const removable = el("span", { class: "facet" });

/** Chips of what has no button of its own. */
function showChips() {
  const chip = (words, undo) => el("button", { class: "chip", type: "button", "aria-pressed": "true", onclick: () => { undo(); apply(); } }, `${words} ✕`);
  removable.replaceChildren(...[
    filter.directory === null ? null : chip(`below ${filter.directory}`, () => (filter.directory = null)),
    filter.time === null ? null : chip(`${minute(filter.time[0])} to ${minute(filter.time[1])}`, () => (filter.time = null)),
    isFiltered() ? el("button", { class: "chip", type: "button", onclick: clearFilters }, "Clear all") : null,
  ].filter(Boolean));
}

function makeFilters() {
  const search = el("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", "aria-label": "Search path, program, user, package, reason, difference, decision, ticket or #number", placeholder: narrow.matches ? "Search" : "Search path, program, user, package, reason, difference, #number   ( / )" });
  search.addEventListener("input", () => {
    // Words, and "phrases in quotes"; a row has to have all of them.
    filter.words = Array.from(search.value.toLowerCase().matchAll(/"([^"]+)"|[^\s"]+/g), (found) => found[1] ?? found[0]);
    apply();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      if (search.value) {
        search.value = "";
        filter.words = [];
        apply();
      } else search.blur();
      event.preventDefault();
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      const first = lists.look.items.length ? lists.look : lists.changes;
      first.focus(0);
      event.preventDefault();
    }
  });
  const facets = FACETS.map((facet, f) => {
    const present = new Set(facetOf[f]);
    const made = facet.values.map((value, k) => {
      if (!present.has(k)) return null;
      const amount = el("span", { class: "count" });
      const toggle = () => {
        if (!filter[facet.name].delete(k)) filter[facet.name].add(k);
        apply();
      };
      return { count: amount, button: el("button", { class: "chip", type: "button", "aria-pressed": "false", onclick: toggle }, `${value || "not watched"} `, amount) };
    });
    chips.set(facet.name, made);
    return el("div", { class: "facet", role: "group", "aria-label": facet.label }, el("span", { "aria-hidden": "true" }, facet.label), made.filter(Boolean).map((chip) => chip.button));
  });
  lookChip.count = el("span", { class: "count" });
  lookChip.button = el("button", { class: "chip", type: "button", "aria-pressed": "false", onclick: () => { filter.look = !filter.look; apply(); } }, "stands out ", lookChip.count);
  const parts = el("nav", { class: "facet", "aria-label": "Parts of the page" }, [["look", "Look at these"], ["time", "When"], ["changes", "Change sets"]].map(([id, words]) => el("a", { href: `#${id}` }, words)));
  $("filters").append(el("div", { class: "top" }, search, parts), el("div", { class: "facets" }, lookChip.button, facets, removable, el("span", { id: "status", role: "status" })));
}

const viewButtons = new Map([["sets", "Sets"], ["rows", "Rows"], ["tree", "Directories"]].map(([name, words]) => [name,
  el("button", { class: "chip", type: "button", onclick: () => { view = name; showChanges(true); } }, words)]));
$("views").append(...viewButtons.values());

// ---------------------------------------------------------------------------------------------------------------
// Timeline and continuity: the same axis

const BUCKETS = 60;
let whole = [data.span[0], data.span[1]];
for (let i = 0; i < count; i++) {
  if (rows.time[i] < whole[0]) whole[0] = rows.time[i];
  if (rows.time[i] > whole[1]) whole[1] = rows.time[i];
}

function showTimeline() {
  const place = $("timeline");
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.bucket : undefined;
  const [from, to] = filter.time ?? whole;
  const width = Math.max(1, (to - from + 1) / BUCKETS);
  const all = new Uint32Array(BUCKETS);
  const loud = new Uint32Array(BUCKETS);
  for (const i of visible) {
    const bucket = Math.min(BUCKETS - 1, Math.floor((rows.time[i] - from) / width));
    all[bucket]++;
    if (isLook(i)) loud[bucket]++;
  }
  const most = Math.max(1, ...all);
  // The root makes single changes visible beside thousands.
  const height = (value) => (value ? Math.max(6, 100 * Math.sqrt(value / most)) : 0);
  const bars = Array.from(all, (value, bucket) => {
    const begin = from + bucket * width;
    const end = begin + width - 1;
    const bar = el("button", { class: "bar", type: "button", "data-bucket": bucket, tabindex: -1, disabled: value === 0, title: `${iso(begin).slice(0, 19).replace("T", " ")} to ${iso(end).slice(0, 19).replace("T", " ")}: ${plural(value, "change")}`, "aria-label": `${minute(begin)} to ${minute(end)}: ${plural(value, "change")}, ${number(loud[bucket])} to look at` }, el("i", { class: "loud" }), el("i"));
    bar.addEventListener("click", () => { filter.time = [Math.floor(begin), Math.ceil(end)]; apply(); });
    const red = height(loud[bucket]);
    bar.children[0].style.height = `${red}%`;
    bar.children[1].style.height = `${Math.max(0, height(value) - red)}%`;
    return bar;
  });
  const group = el("div", { class: "bars", role: "group", "aria-label": "Changes by time; Enter shows those of a bar" }, bars);
  const usable = bars.filter((bar) => !bar.disabled);
  if (usable.length) usable[0].tabIndex = 0;
  group.addEventListener("keydown", (event) => {
    const now = usable.indexOf(event.target);
    const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: usable.length - 1 }[event.key];
    if (next === undefined || !usable[next]) return;
    usable[now].tabIndex = -1;
    usable[next].tabIndex = 0;
    usable[next].focus();
    event.preventDefault();
  });
  place.replaceChildren(group, strip(from, to), el("div", { class: "axis" }, el("span", null, `${minute(from)} UTC`), legend(), el("span", null, `${minute(to)} UTC`)));
  if (focused !== undefined) (usable.find((bar) => bar.dataset.bucket === focused) ?? usable[0])?.focus();
}

const legend = () => el("span", { class: "legend" }, el("i", { class: "changes" }), "changes", el("i", { class: "loud" }), "to look at", el("i", { class: "scan" }), "scans", el("i", { class: "gap" }), "audit gaps");

function strip(from, to) {
  const { scans, gaps } = data.continuity;
  const node = el("div", { class: "strip", role: "img", "aria-label": `${plural(scans.length, "scan")}, ${gaps === null ? "audit gaps not known" : plural(gaps.length, "audit gap")}; listed below` });
  const add = (kind, begin, end, title) => {
    if (end < from || begin > to) return;
    const left = Math.max(0, (begin - from) / (to - from || 1)) * 100;
    const mark = el("i", { class: kind, title });
    mark.style.left = `min(${left}%, 100% - 3px)`;
    mark.style.width = `${Math.max(0, (Math.min(end, to) - Math.max(begin, from)) / (to - from || 1)) * 100}%`;
    node.append(mark);
  };
  for (const [id, begin, end, words] of scans) add("scan", begin, end, `scan ${id}: ${words}, ${minute(begin)}`);
  for (const [begin, end, words] of gaps ?? []) add("gap", begin, end, words);
  return node;
}

const LISTED = 200; // entries that a list shows at once

/** A list that opens, and shows more on demand. */
function lazyList(title, items, make) {
  const place = el("ul");
  const more = el("button", { type: "button", class: "chip", hidden: true });
  let shown = 0;
  const show = () => {
    const next = items.slice(shown, shown + LISTED);
    place.append(...next.map((item) => el("li", null, make(item))));
    shown += next.length;
    more.hidden = shown >= items.length;
    more.textContent = `${number(items.length - shown)} more`;
  };
  more.addEventListener("click", show);
  const node = el("details", null, el("summary", null, title), place, more);
  node.addEventListener("toggle", () => { if (node.open && !shown) show(); });
  return node;
}

function showContinuity() {
  const { scans, gaps } = data.continuity;
  const gap = ([begin, end, words]) => `${iso(begin)} to ${iso(end)}: ${words}`;
  const scan = ([id, begin, end, words]) => `scan ${id}: ${words}, ${iso(begin)} to ${iso(end)}`;
  $("time").append(
    gaps === null ? el("p", { class: "note" }, "Gaps of audit are not known: no configuration was read.") : gaps.length ? lazyList(`${plural(gaps.length, "audit gap")}: then, audit may not have seen everything`, gaps, gap) : el("p", { class: "note" }, "No audit gap is known."),
    lazyList(plural(scans.length, "scan"), scans, scan));
}

// ---------------------------------------------------------------------------------------------------------------
// Directories

function showTree() {
  const root = { count: 0, look: 0, children: new Map(), path: "" };
  for (const i of visible) {
    let node = root;
    node.count++;
    for (const part of data.directories[rows.directory[i]].split("/")) {
      if (!part) continue;
      let child = node.children.get(part);
      if (!child) node.children.set(part, (child = { count: 0, look: 0, children: new Map(), path: `${node.path}/${part}` }));
      node = child;
      node.count++;
      if (isLook(i)) node.look++;
    }
  }
  $("tree").replaceChildren(visible.length ? branches(root) : el("p", { class: "empty" }, "no change matches"));
}

function branches(parent) {
  const children = [...parent.children.values()].sort((a, b) => b.count - a.count || (a.path < b.path ? -1 : 1));
  const shown = children.slice(0, LISTED);
  const make = (node) => {
    // A directory whose changes are all in one below is shown together with that.
    while (node.children.size === 1 && node.children.values().next().value.count === node.count) node = node.children.values().next().value;
    const name = node.path.slice(parent.path.length) + "/";
    const label = [name, node.look ? el("span", { class: "loud" }, ` ${number(node.look)} to look at`) : ""];
    const place = el("li");
    const show = el("button", { class: "chip", type: "button", "aria-label": `Show the changes below ${node.path}/`, onclick: () => { filter.directory = `${node.path}/`; view = "rows"; apply(); lists.changes.focus(0); } }, "show");
    const amount = el("span", { class: "amount" }, number(node.count));
    if (node.children.size === 0) place.append(el("div", { class: "branch" }, amount, el("span", { class: "open leaf mono" }, label), show));
    else {
      const open = el("button", { class: "open mono", type: "button", "aria-expanded": "false" }, label);
      open.addEventListener("click", () => {
        const isOpen = open.getAttribute("aria-expanded") === "true";
        open.setAttribute("aria-expanded", String(!isOpen));
        if (isOpen) place.lastChild.remove();
        else place.append(branches(node));
      });
      place.append(el("div", { class: "branch" }, amount, open, show));
    }
    return place;
  };
  const list = el("ul", null, shown.map(make));
  if (children.length > LISTED) list.append(el("li", { class: "note" }, `and ${plural(children.length - LISTED, "more directory").replace("directorys", "directories")} with fewer changes: search for a path`));
  return list;
}

// ---------------------------------------------------------------------------------------------------------------
// What is beside the changes

const alteredFiles = data.unreadable.flatMap(([, items]) => items).filter(([, , differs]) => differs);

function showOthers() {
  const unreadable = ([path, why]) => [el("code", null, path), `: ${why}`];
  $("look-unreadable").append(...alteredFiles.map((item) => el("li", null, unreadable(item))));
  for (const [heading, items] of data.unreadable) $("others").append(lazyList(heading, items, unreadable));
  const [heading, items] = data.opened;
  if (items.length) $("others").append(lazyList(heading, items, ([path, who]) => [el("code", null, path), who.map((words) => el("div", { class: "soft" }, `by ${words}`))]));
  $("same").textContent = data.same_content ?? "";
  const first = rows.number.find((id) => id) ?? 0;
  const code = (words) => el("code", null, words);
  const key = (words) => el("b", null, words);
  $("help").append(
    el("p", null, "Keys: ", key("/"), " search, ", key("↑ ↓"), " move, ", key("→ ←"), " or ", key("Enter"), " open and close, ", key("Esc"), " close or clear."),
    first ? el("p", null, "Why: ", code(command(`explain ${first}`)), ". All recorded fields of every change: ", code(command(`diff${data.filters} --format json`)), ".") : "",
    data.accept ? el("p", null, "Decide, set by set: ", code(command("review")), ". Accept no more than is shown: ", code(data.accept)) : "",
    data.rules ? el("p", null, "Some verdicts lack audit rules: ", code(data.rules)) : "",
    count > data.explained ? el("p", { class: "note" }, `To keep this page small, recorded states, reasoning and audit records are here for the ${number(data.explained)} most urgent of ${plural(count, "change")}. Paths, differences, processes, packages and verdicts are here for all.`) : "",
    el("p", { class: "note" }, "Printing gives what stands out and the change sets. All times are UTC."));
}

// ---------------------------------------------------------------------------------------------------------------
// Print: what stands out, whole, and the sets, one line each

function fillPrint() {
  const looks = visible.filter(isLook);
  const place = $("print");
  const entry = (i) => {
    const severity = data.severities[rows.severity[i]];
    return el("article", null,
      el("p", null, el("b", { class: "mono" }, paths[i]), ` ${data.kinds[rows.kind[i]]}${rows.number[i] ? ` #${rows.number[i]}` : ""}${severity ? `, ${severity}` : ""}`),
      briefNodes(i));
  };
  const sets = data.sets.filter((set) => shownOf.has(set.number));
  place.replaceChildren(
    isFiltered() ? el("p", null, el("b", null, `Filtered: ${number(visible.length)} of ${plural(count, "change")}.`)) : "",
    el("h2", null, looks.length ? `Look at these (${number(looks.length)} of ${number(count)})` : "Nothing stands out by itself"),
    ...looks.map(entry),
    ...alteredFiles.map(([path, why]) => el("article", null, el("p", null, el("b", { class: "mono" }, path), ` ${why}`))),
    el("h2", null, `${plural(sets.length, "change set")}, ${plural(visible.length, "change")}`),
    el("table", null, sets.map((set) => el("tr", null, el("td", null, String(set.number)), el("td", null, number(shownOf.get(set.number).length)), el("td", null, [set.title, ...set.tail].join("; "))))),
    el("p", null, leftOut(visible.length - looks.length)));
  place.hidden = false;
}

function leftOut(others) {
  const parts = [];
  if (others) parts.push(`the ${plural(others, "change")} that ${others === 1 ? "does" : "do"} not stand out, except in the sets`);
  if (data.explained) parts.push("recorded states, reasoning and audit records");
  if (data.opened[1].length) parts.push(`${plural(data.opened[1].length, "file")} opened and not changed`);
  const quiet = data.unreadable.flatMap(([, items]) => items).length - alteredFiles.length;
  if (quiet) parts.push(`${plural(quiet, "file")} that could not be compared`);
  return parts.length ? `Not printed: ${parts.join("; ")}. They are in the page itself, and in: ${command(`diff${data.filters} --flat`)}` : "";
}

function clearPrint() {
  $("print").hidden = true;
  $("print").replaceChildren();
}

// ---------------------------------------------------------------------------------------------------------------

let width = innerWidth;
const renderAll = () => Object.values(lists).forEach((list) => list.render());
addEventListener("scroll", renderAll, { passive: true });
// When something above a list opens or closes, other items of it are in sight.
new ResizeObserver(renderAll).observe(document.body);
addEventListener("resize", () => {
  // A phone's window gets higher when its address bar goes away: then, heights of items stay as they are.
  if (innerWidth !== width) {
    width = innerWidth;
    Object.values(lists).forEach((list) => list.forget());
  } else renderAll();
});
addEventListener("beforeprint", fillPrint);
addEventListener("afterprint", clearPrint);
matchMedia("print").addEventListener("change", (event) => (event.matches ? fillPrint() : clearPrint()));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && event.target !== $("search")) {
    $("search").focus();
    $("search").select();
    event.preventDefault();
  }
});

$("main").hidden = false;
makeFilters();
showContinuity();
showOthers();
apply();
document.documentElement.dataset.ready = "true";

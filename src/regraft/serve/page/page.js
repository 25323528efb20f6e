"use strict";
// The page of `regraft serve`: asks the same API as everybody else. What comes from a model or a
// file is put in as text, never as HTML.

const AT_ONCE = 4; // requests on their way; the others wait their turn
const MOST = 100; // answers that stay on the page

// What a model reads → how it is asked for.
const ASKING = {
  image: { noun: "pictures", accept: "image/*,.dcm", told: "Drop or paste pictures here", mark: markCells },
  audio: { noun: "recordings", accept: "audio/*", told: "Drop recordings here", record: true, mark: markSpans },
  text: { noun: "texts", accept: ".txt,.md,text/plain", told: "Or drop text files here", mark: markWords },
};
const OTHER = { noun: "examples", accept: "", told: "Drop files here" };

// What a model answers, by its task → how the model is told of, and how an answer is shown.
const TASKS = {
  classification: { told: (noun, n) => `Tells ${noun} apart, ${n} classes`, show: showClass },
  tags: { told: (noun, n) => `Tells which of ${n} tags fit ${noun}`, show: showTags },
  regression: { told: noun => `Tells numbers for ${noun}`, show: showNumbers },
  detection: { told: noun => `Finds objects in ${noun}`, show: showObjects },
  transcription: { told: noun => `Writes down what is said in ${noun}`, show: showWords },
};

let models = [];
const waiting = [];
let going = 0;

// --- the server ---------------------------------------------------------------------------------

async function load() {
  const response = await ask("/v1/models");
  if (response.status === 401) {
    $("token-wrong").hidden = !sessionStorage.getItem("token");
    $("token-form").hidden = false;
    $("title").textContent = "A token is needed";
    $("token").focus();
    return;
  }
  if (!response.ok) throw new Error(await failure(response));
  models = (await response.json()).models;
  $("token-form").hidden = true;
  $("back").hidden = location.pathname === "/";
  if (!models.length) {
    $("title").textContent = "There is no model yet";
    return;
  }
  $("model").replaceChildren(...models.map(one => new Option(one.name, one.name)));
  $("choice").hidden = models.length < 2;
  choose();
}

const chosen = () => models.find(one => one.name === $("model").value) ?? models[0];
const tasking = model => TASKS[model.task] ?? TASKS.classification;
const asking = () => ASKING[chosen().modality] ?? OTHER;

function choose() {
  const model = chosen(), how = asking();
  const classes = model.classes ?? [];
  document.title = `${model.name} – Regraft`;
  $("title").textContent = model.name;
  const some = classes.slice(0, 12).join(", ") + (classes.length > 12 ? " …" : "");
  const told = tasking(model).told(how.noun, classes.length);
  $("told").textContent = some ? `${told}: ${some}` : told;
  $("notice").hidden = !model.notice;
  $("notice").textContent = model.notice ?? "";
  $("drop-told").textContent = how.told;
  $("files").accept = how.accept;
  $("say").hidden = !model.sayable;
  $("record").hidden = !how.record;
  const secure = navigator.mediaDevices && window.MediaRecorder;
  $("record").disabled = !secure;
  $("drop-help").textContent =
    how.record && !secure ? "Recording needs this page on localhost or over https." : "";
  $("ask").hidden = $("open-card").hidden = false;
}

// --- answers ------------------------------------------------------------------------------------

const share = p => `${(100 * p).toFixed(1)} %`;

/** Queue one example: how it is called, what shows it, what is sent. */
function enqueue(name, shown, type, body) {
  const item = $("answer").content.firstElementChild.cloneNode(true);
  item.querySelector(".name").textContent = name;
  item.querySelector(".shown").append(shown);
  $("answers").prepend(item);
  while ($("answers").children.length > MOST) $("answers").lastElementChild.remove();
  $("none").hidden = true;
  $("clear").hidden = false;
  waiting.push({ item, type, body, model: chosen().name });
  next();
}

function next() {
  while (going < AT_ONCE && waiting.length) {
    going += 1;
    answer(waiting.shift()).finally(() => {
      going -= 1;
      next();
    });
  }
}

async function answer({ item, type, body, model }) {
  const began = performance.now();
  let found, response, trouble = "";
  try {
    response = await ask(`/v1/predict?model=${encodeURIComponent(model)}`, {
      method: "POST", body, headers: { "Content-Type": type },
    });
    if (response.ok) found = await response.json();
    else trouble = await failure(response);
  } catch {
    trouble = "the server cannot be reached";
  }
  const spent = performance.now() - began;
  item.ariaBusy = "false";
  if (trouble) fail(item, trouble);
  else {
    show(item, found, model, spent, response.headers.get("server-timing"));
    offerWhy(item, { type, body, model });
  }
}

function fail(item, trouble) {
  item.classList.add("failed");
  item.querySelector(".verdict").textContent = trouble;
  $("state").textContent = trouble;
}

function show(item, found, model, spent, timing) {
  const part = name => item.querySelector(name);
  const said = tasking(models.find(one => one.name === model) ?? chosen()).show(part, found);
  part(".note").hidden = !found.note;
  part(".note").textContent = found.note ? `Note: ${found.note}` : "";
  const own = /dur=([\d.]+)/.exec(timing ?? "");
  const server = own ? `, ${Math.round(own[1])} ms of it in the server` : "";
  part(".time").textContent = `${Math.round(spent)} ms${server}`;
  $("state").textContent = said;
}

function showClass(part, found) {
  part(".verdict").textContent = found.label;
  part(".bars").replaceChildren(...found.top.map(bar));
  const set = found.set ?? [];
  part(".set").textContent = set.length > 1
    ? `Cannot be ruled out: ${set.join(", ")}`
    : "All other classes are ruled out at the model’s coverage";
  return `${found.label}, ${share(found.probability)}`;
}

function showTags(part, found) {
  const names = found.tags.map(one => one.label);
  const verdict = part(".verdict");
  verdict.classList.toggle("soft", !names.length);
  verdict.replaceChildren(...(names.length ? names.map(name => {
    const tag = made("span", name);
    tag.className = "tag";
    return tag;
  }) : ["No tag fits"]));
  part(".bars").replaceChildren(...found.top.map(one => {
    const row = bar(one);
    row.classList.toggle("not", !names.includes(one.label));
    return row;
  }));
  return names.join(", ") || "No tag fits";
}

const number = value =>
  value.toLocaleString("en", { maximumSignificantDigits: Math.abs(value) >= 1e4 ? 6 : 4 });

function showNumbers(part, { values }) {
  const [first] = values;
  part(".verdict").textContent = values.length === 1 ? number(first.value) : "";
  const rows = values.map(({ name, value, low, high }) =>
    [name, number(value), low === null ? "–" : `${number(low)} to ${number(high)}`]);
  part(".more").replaceChildren(tableOf([["", "value", "interval"], ...rows]));
  return values.map(({ name, value }) => `${name} ${number(value)}`).join(", ");
}

const HUES = 8; // colours of boxes, in turn over the classes

function showObjects(part, { objects, width, height }) {
  const counts = new Map();
  for (const { label } of objects) counts.set(label, (counts.get(label) ?? 0) + 1);
  const told = [...counts].map(([label, n]) => `${n} × ${label}`).join(", ") || "Nothing was found";
  part(".verdict").textContent = told;
  part(".verdict").classList.toggle("soft", !objects.length);
  const classes = chosen().classes ?? [];
  const hue = label => Math.max(classes.indexOf(label), 0) % HUES;
  const picture = part(".shown img");
  if (picture && objects.length) {
    const frame = made("div");
    frame.className = "boxed";
    picture.replaceWith(frame);
    frame.append(picture, ...objects.map(one => boxOf(one, hue(one.label), width, height)));
    part(".shown").parentElement.classList.add("large");
  }
  const rows = objects.map(({ label, score, box }) =>
    [label, share(score), box.map(Math.round).join(", ")]);
  if (rows.length) {
    const list = made("details");
    list.append(made("summary", "Boxes"), tableOf([["object", "score", "left, top, right, bottom"], ...rows]));
    part(".more").replaceChildren(list);
  }
  return told;
}

function boxOf({ label, score, box: [left, top, right, bottom] }, hue, width, height) {
  const frame = made("span"), name = made("b", `${label} ${Math.round(100 * score)}`);
  const sides = { left: left / width, top: top / height };
  Object.assign(sides, { width: (right - left) / width, height: (bottom - top) / height });
  for (const [side, part] of Object.entries(sides)) frame.style[side] = `${100 * part}%`;
  frame.className = `box hue-${hue}`;
  frame.classList.toggle("high", top / height < 0.08); // no room for its name above
  frame.append(name);
  return frame;
}

function showWords(part, { text, confidence, length }) {
  part(".verdict").textContent = text || "Nothing is said";
  part(".verdict").classList.toggle("soft", !text);
  part(".set").textContent =
    `Confidence ${share(confidence)}, not calibrated; ${length.toFixed(1)} s of sound`;
  return text;
}

function bar({ label, probability }) {
  const row = document.createElement("li");
  const [name, track, fill, number] = ["span", "div", "div", "span"].map(t => document.createElement(t));
  name.textContent = label;
  track.className = "track";
  fill.className = "fill";
  number.className = "share";
  number.textContent = share(probability);
  track.append(fill);
  row.append(name, track, number);
  requestAnimationFrame(() => { fill.style.width = `${100 * probability}%`; });
  return row;
}

// --- what an answer rests on --------------------------------------------------------------------

function offerWhy(item, asked) {
  const { mark } = asking(), button = item.querySelector(".why");
  button.hidden = !mark || !chosen().explains || !item.querySelector(".shown").children.length;
  button.addEventListener("click", () => explain(item, asked, mark), { once: true });
}

async function explain(item, { type, body, model }, mark) {
  const told = item.querySelector(".because"), button = item.querySelector(".why");
  button.disabled = true;
  told.textContent = "Hiding one part after the other …";
  try {
    const response = await ask(`/v1/explain?model=${encodeURIComponent(model)}`, {
      method: "POST", body, headers: { "Content-Type": type },
    });
    if (!response.ok) throw new Error(await failure(response));
    const { label, parts } = await response.json();
    const most = Math.max(...parts.map(part => part.loss), 0);
    mark(item.querySelector(".shown"), parts.map(({ place, loss }) =>
      ({ place, weight: most > 0 ? Math.max(loss, 0) / most : 0 })));
    button.hidden = true;
    told.textContent = most > 0.01
      ? `The stronger the colour, the more “${label}” loses where that part is hidden.`
      : `“${label}” rests on no single part: hiding any of them changes next to nothing.`;
  } catch (error) {
    told.textContent = error.message;
  }
}

const WEAKEST = 0.1; // parts that say less are left as they are

function markCells(shown, parts) {
  const frame = document.createElement("div"), picture = shown.querySelector("img");
  frame.className = "marked";
  picture.replaceWith(frame);
  frame.append(picture);
  for (const { place: [left, top, right, bottom], weight } of parts) {
    const cell = document.createElement("span");
    const sides = { left, top, width: right - left, height: bottom - top };
    for (const [side, share] of Object.entries(sides)) cell.style[side] = `${100 * share}%`;
    cell.style.opacity = weight < WEAKEST ? 0 : 0.65 * weight;
    frame.append(cell);
  }
}

function markSpans(shown, parts) {
  const strip = document.createElement("div");
  strip.className = "spans";
  for (const { place: [from, to], weight } of parts) {
    const span = document.createElement("span");
    span.style.flexGrow = to - from;
    span.style.opacity = Math.max(weight, 0.08);
    span.title = `${from.toFixed(1)}–${to.toFixed(1)} s`;
    strip.append(span);
  }
  shown.append(strip);
}

function markWords(shown, parts) {
  // Places count whole characters, of which JavaScript takes some for two.
  const quote = shown.querySelector("blockquote"), text = [...quote.textContent.trim()];
  const piece = (from, to) => text.slice(from, to).join("");
  const pieces = [];
  let at = 0;
  for (const { place: [from, to], weight } of parts) {
    if (weight < WEAKEST || from < at || to > text.length) continue;
    const word = document.createElement("mark");
    word.textContent = piece(from, to);
    word.style.setProperty("--weight", `${Math.round(55 * weight)}%`);
    pieces.push(piece(at, from), word);
    at = to;
  }
  quote.replaceChildren(...pieces, piece(at));
}

// --- what is asked about ------------------------------------------------------------------------

function files(list) {
  for (const file of list) enqueue(file.name, shownOf(file), typeOf(file), file);
}

/** The browser's type where the model's kind of data has it; else the server looks at the bytes. */
function typeOf(file) {
  return file.type.startsWith(`${chosen().modality}/`) ? file.type : "application/octet-stream";
}

function shownOf(file) {
  const kind = chosen().modality;
  if (kind !== "image" && kind !== "audio") return document.createElement("span");
  const shown = document.createElement(kind === "image" ? "img" : "audio");
  shown.src = URL.createObjectURL(file);
  if (kind === "image") {
    shown.alt = "";
    shown.addEventListener("error", () => shown.remove());
  } else {
    shown.controls = true;
  }
  return shown;
}

function say() {
  const text = $("text").value;
  if (!text.trim()) return;
  const quote = document.createElement("blockquote");
  quote.textContent = text.length > 600 ? `${text.slice(0, 600)} …` : text;
  enqueue("", quote, "application/json", JSON.stringify({ text }));
  $("text").select();
}

// --- recording ----------------------------------------------------------------------------------

let recorder = null;

async function record() {
  if (recorder) {
    recorder.stop();
    return;
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const pieces = [];
    recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", event => pieces.push(event.data));
    recorder.addEventListener("stop", () => {
      for (const track of stream.getTracks()) track.stop();
      recorder = null;
      pressed(false);
      heard(new Blob(pieces)).catch(error => tell(`the recording cannot be read: ${error.message}`));
    });
    recorder.start();
    pressed(true);
  } catch (error) {
    tell(`there is no microphone to record with: ${error.message}`);
  }
}

function pressed(on) {
  $("record").ariaPressed = String(on);
  $("record").textContent = on ? "Stop" : "Record";
}

const tell = message => { $("drop-help").textContent = message; };

/** What browsers record is no format that every decoder reads: it is sent as WAV. */
async function heard(blob) {
  const context = new AudioContext();
  const sound = await context.decodeAudioData(await blob.arrayBuffer());
  context.close();
  const file = new File([wav(sound)], "recording.wav", { type: "audio/wav" });
  files([file]);
}

function wav(sound) {
  const channels = Array.from({ length: sound.numberOfChannels }, (_, k) => sound.getChannelData(k));
  const view = new DataView(new ArrayBuffer(44 + 2 * sound.length));
  const word = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * sound.length, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, sound.sampleRate, true);
  view.setUint32(28, 2 * sound.sampleRate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, 2 * sound.length, true);
  for (let i = 0; i < sound.length; i++) {
    const mean = channels.reduce((sum, one) => sum + one[i], 0) / channels.length;
    view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, mean))), true);
  }
  return view;
}

// --- the model card -----------------------------------------------------------------------------

async function card() {
  const response = await ask(`/v1/models/${encodeURIComponent(chosen().name)}/card`);
  const text = response.ok ? await response.text() : await failure(response);
  $("card-text").replaceChildren(...drawn(text.replace(/^---\n[\s\S]*?\n---\n/, "")));
  $("card").showModal();
}

const bold = text => text.replace(/^\*\*(.*)\*\*$/s, "$1");
const unescaped = text => text.replace(/\\([\\`*_{}[\]()<>#|!~&$])/g, "$1");

/** The Markdown of cards, which has headings, tables, lists and code, as elements. */
function* drawn(text) {
  for (const block of text.trim().split(/\n{2,}/)) {
    const lines = block.split("\n");
    if (lines[0].startsWith("# ")) continue;
    if (lines[0].startsWith("## ")) yield made("h3", unescaped(lines[0].slice(3)));
    else if (lines[0].startsWith("|")) yield table(lines);
    else if (lines[0].startsWith("- ")) {
      const list = made("ul");
      list.append(...lines.map(line => made("li", unescaped(line.slice(2)))));
      yield list;
    } else if (lines[0].startsWith("```")) yield made("pre", lines.slice(1, -1).join("\n"));
    else yield made("p", unescaped(bold(lines.join(" "))));
  }
}

const table = lines => tableOf(lines.filter((_, i) => i !== 1).map(line =>
  line.slice(1, -1).split(/(?<!\\)\|/).map(cell => unescaped(cell.trim()))));

/** A table of text, its first row being the head. */
function tableOf(rows) {
  const found = made("table"), box = made("div");
  rows.forEach((cells, i) => found.insertRow().append(...cells.map(cell => made(i ? "td" : "th", cell))));
  box.className = "table";
  box.append(found);
  return box;
}

// --- events -------------------------------------------------------------------------------------

$("model").addEventListener("change", choose);
$("open-card").addEventListener("click", card);
$("record").addEventListener("click", record);
$("files").addEventListener("change", event => {
  files(event.target.files);
  event.target.value = "";
});
$("say").addEventListener("submit", event => {
  event.preventDefault();
  say();
});
$("text").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) say();
});
$("clear").addEventListener("click", () => {
  $("answers").replaceChildren();
  $("none").hidden = false;
  $("clear").hidden = true;
});
$("token-form").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  start();
});
for (const [type, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(type, event => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (type === "drop" && models.length) files(event.dataTransfer.files);
  });
}
document.addEventListener("paste", event => {
  if (event.clipboardData.files.length && models.length) files(event.clipboardData.files);
});

function start() {
  load().catch(error => {
    $("title").textContent = "This page cannot reach its server";
    $("told").textContent = error.message;
  });
}
start();

"use strict";
// The page of `regraft ui`. All state is the server's: this page draws it, and may be closed and
// opened again at any time. What comes from files is put in as text, never as HTML.

const EVERY = 500; // ms between two looks while something runs
const FEW = 100; // examples to measure on, below which an interval is wide

let state = {};
let choosing = false;
let timer = 0;
let before = ""; // what the doctor and the fit were at, for who listens to the page
let outFor = null; // folder whose place for results is proposed

// --- the server ---------------------------------------------------------------------------------

async function send(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  await take(await ask(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function look() {
  await take(await ask("/ui/state"));
}

/** Draw the state that an answer has, or tell why there is none. */
async function take(response) {
  if (response.status === 401) {
    $("steps").hidden = true;
    $("token-form").hidden = false;
    return;
  }
  if (!response.ok) {
    tell(await failure(response));
    return;
  }
  tell("");
  state = await response.json();
  $("token-form").hidden = true;
  $("steps").hidden = false;
  draw();
  clearTimeout(timer);
  if (runs(state.doctor) || runs(state.fit)) timer = setTimeout(() => attempt(look), EVERY);
}

const runs = job => job?.state === "running" || job?.state === "stopping";

function tell(message) {
  $("trouble").hidden = !message;
  $("trouble").textContent = message;
  if (message) $("trouble").scrollIntoView({ block: "nearest" });
}

/** Do something that asks the server; while it cannot be reached, look again. */
async function attempt(work) {
  try {
    await work();
  } catch {
    tell("The server cannot be reached: is regraft ui still at work?");
    clearTimeout(timer);
    timer = setTimeout(() => attempt(look), 4 * EVERY);
  }
}

// --- what is drawn ------------------------------------------------------------------------------

function draw() {
  drawFolder();
  drawDoctor(state.doctor);
  drawFit(state.fit);
  drawModel(state.fit);
  const now = [state.doctor, state.fit].map(job => job && `${job.verb}: ${job.state}`).join(" ");
  if (before && now !== before) $("state").textContent = now;
  if (before && now !== before && state.fit?.state === "done") $("model-title").focus();
  before = now;
}

function drawFolder() {
  const open = choosing || !state.folder;
  if (open && $("browser").hidden) attempt(() => visit(state.folder ?? state.start));
  $("browser").hidden = !open;
  $("chosen").hidden = $("another").hidden = open;
  $("chosen").textContent = state.folder ?? "";
  $("another").disabled = runs(state.doctor) || runs(state.fit);
  for (const id of ["step-doctor", "step-fit"]) $(id).hidden = open;
  if (outFor !== state.folder) {
    outFor = state.folder;
    $("out").value = state.out ?? "";
  }
}

function drawDoctor(job) {
  if (!job) {
    $("doctor-told").textContent = "";
    $("classes").replaceChildren();
    $("findings").replaceChildren();
  }
  work($("doctor-work"), job);
  $("stop-doctor").hidden = !runs(job);
  $("thorough").hidden = runs(job) || runs(state.fit) || (job?.thorough && job.state === "done");
  if (!job) return;
  $("doctor-told").className = job.state === "failed" ? "trouble" : "";
  $("doctor-told").textContent = verdict(job);
  const classes = Object.entries(job.classes ?? {}).map(([name, n]) => made("li", `${name}: ${n}`));
  if (job.class_count > classes.length) classes.push(made("li", `${job.class_count - classes.length} more`));
  $("classes").replaceChildren(...classes);
  const found = (job.findings ?? []).map(finding);
  if (job.left) found.push(made("li", `and ${job.left} more: regraft doctor --report lists all`));
  $("findings").replaceChildren(...found);
}

function verdict(job) {
  if (job.state === "failed") return job.errors.join("; ");
  if (job.state === "stopped") return "Skipped.";
  if (job.state !== "done") return job.thorough ? "Reading your files, and asking a network about the labels …" : "Reading your files …";
  const grave = job.findings.filter(one => one.severity !== "note").length + job.left;
  const counts = `${job.n} examples, ${job.class_count} classes. `;
  return counts + (grave ? "Have a look at:" : "Nothing needs a look.");
}

function finding(one) {
  const item = made("li"), files = one.files.slice(0, 5).join(", ");
  const more = one.count > 5 ? ` and ${one.count - 5} more` : "";
  item.className = one.severity;
  const kind = made("b", one.kind.replaceAll("-", " "));
  item.append(kind, `: ${one.reason}`);
  if (files) item.append(Object.assign(made("div", files + more), { className: "files" }));
  return item;
}

function drawFit(job) {
  const busy = runs(state.doctor) || runs(job);
  $("fit").hidden = Boolean(job);
  $("live").hidden = !job;
  $("start").disabled = busy;
  if (!job) return;
  work($("fit-work"), job);
  $("spent").textContent = told(job);
  const left = Math.max(0, job.budget - job.seconds);
  $("left").textContent = runs(job) ? `at most ${clock(left)} left of ${clock(job.budget)}` : "";
  $("clock-track").hidden = !runs(job);
  $("clock-fill").style.width = `${Math.min(100, (100 * job.seconds) / job.budget)}%`;
  $("stop").hidden = !runs(job);
  $("stop").textContent = job.state === "stopping" ? "Stop at once" : "Stop";
  $("resume").hidden = !job.resumable;
  $("anew").hidden = runs(job);
  $("rungs-title").hidden = !job.rungs.length || job.state === "done";
  const best = Math.max(...job.rungs.map(rung => rung.score));
  $("rungs").replaceChildren(...(job.state === "done" ? [] : job.rungs.map(rung => drawnRung(rung, best))));
}

const ENDS = {
  done: "Done in", stopped: "Stopped after", failed: "Failed after",
  running: "At work for", stopping: "Stopping: ends within a step; at work for",
};

function told(job) {
  const line = `${ENDS[job.state]} ${clock(job.seconds)}`;
  return job.state === "failed" ? `${line}: ${job.errors.join("; ")}` : line;
}

/** The stages of a job that runs: those at work with a bar, and the last ones that have ended. */
function work(place, job) {
  const open = runs(job);
  const stages = open ? job.stages.slice(-4).map(drawnStage) : [];
  if (open && job.stages.every(one => one.seconds !== null)) {
    const name = job.stages.length ? "at work …" : "starting …";
    stages.push(drawnStage({ name, done: 0, total: null, seconds: null }));
  }
  const said = open ? job.said.slice(-2).map(text => Object.assign(made("p", text), { className: "soft" })) : [];
  place.replaceChildren(...stages, ...said);
}

function drawnStage({ name, done, total, seconds, left }) {
  const ended = seconds !== null, row = made("div");
  row.className = ended ? "stage ended" : "stage";
  const count = total ? `${done} of ${total}` : "";
  const more = ended ? clock(seconds) : left === null || left === undefined ? "" : `${clock(left)} left`;
  row.append(made("span", name), made("span", [count, more].filter(Boolean).join(", ")));
  if (!ended && total) row.append(track(done / total));
  return row;
}

function drawnRung(rung, best) {
  const item = made("li"), name = made("span", `${rung.kind}: ${rung.backbone}`);
  const share = made("span", rung.figure === "accuracy" ? percent(rung.score) : rung.score.toFixed(3)), detail = made("span", rung.detail);
  name.className = "name";
  share.className = "share";
  detail.className = "soft";
  item.className = rung.score === best ? "best" : "";
  item.append(name, track(rung.score), share, detail);
  return item;
}

function track(part) {
  const outer = made("div"), inner = made("div");
  outer.className = "track";
  inner.className = "fill";
  inner.style.width = `${100 * part}%`;
  outer.append(inner);
  return outer;
}

// --- the model ----------------------------------------------------------------------------------

function drawModel(job) {
  const done = job?.state === "done" && Boolean(job.bundle);
  $("step-model").hidden = !done;
  if (!done || $("bundle").textContent === job.bundle) return;
  const { accuracy, map } = job.metrics, main = accuracy ?? map;
  $("headline").textContent = headline(accuracy, map, job.measured);
  $("honest").textContent = main ? `Of others like them expect ${interval(main)} (95 % interval).` : "";
  if (main && job.measured < FEW) $("honest").textContent += " With more examples this would be surer.";
  $("tried").replaceChildren(...table(job.tried ?? []));
  $("report").href = job.report;
  $("bundle").textContent = job.bundle;
}

function headline(accuracy, map, n) {
  const unseen = `${n} examples that it has not seen`;
  if (accuracy) return `Right for ${percent(accuracy.value)} of ${unseen}`;
  return map ? `A mean average precision of ${percent(map.value)} on ${unseen}` : "There it is";
}

const percent = p => (Number.isFinite(p) ? `${(100 * p).toFixed(1)} %` : "–");
const interval = one => `between ${percent(one.low)} and ${percent(one.high)}`;

function table(rows) {
  const head = made("tr");
  head.append(...["What was tried", "Right", "95 % interval"].map(text => made("th", text)));
  return [head, ...rows.map(row => {
    const line = made("tr");
    const name = row.backbone ? `${row.name}: ${row.backbone}` : row.name;
    const cells = [made("td", name), made("td", percent(row.score?.value)), made("td", range(row.score))];
    cells[0].append(Object.assign(made("div", row.kept ? `kept: ${row.why}` : row.detail), { className: "why soft" }));
    line.className = row.kept ? "kept" : "";
    line.append(...cells);
    return line;
  })];
}

const range = score => (score ? `${percent(score.low)} – ${percent(score.high)}` : "");

function clock(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const rest = `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return hours ? `${hours} h ${minutes} min` : rest;
}

// --- folders ------------------------------------------------------------------------------------

async function visit(path) {
  const response = await ask(`/ui/folders?at=${encodeURIComponent(path)}`);
  if (!response.ok) {
    tell(await failure(response));
    return;
  }
  tell("");
  const found = await response.json();
  const rows = found.folders.map(one => entry(one.name, one.path, ""));
  if (found.up) rows.unshift(entry("the folder above", found.up, "up"));
  if (found.left) rows.push(made("p", `and ${found.left} more: write the path above`));
  const hadFocus = $("folders").contains(document.activeElement);
  $("at").value = found.at;
  $("folders").replaceChildren(...rows);
  $("folders").scrollTop = 0;
  $("beside").textContent = `${found.folders.length + found.left} folders and ${found.files} files in it`;
  if (hadFocus) $("folders").querySelector("button")?.focus();
}

function entry(name, path, kind) {
  const item = made("li"), button = Object.assign(made("button", name), { type: "button", className: kind });
  button.addEventListener("click", () => attempt(() => visit(path)));
  item.append(button);
  return item;
}

async function use() {
  await send("/ui/choose", { folder: $("at").value });
  if (!$("trouble").hidden) return;
  choosing = false;
  await send("/ui/doctor");
}

// --- events -------------------------------------------------------------------------------------

const on = (id, type, work) => $(id).addEventListener(type, event => {
  event.preventDefault();
  attempt(() => work());
});

on("go", "submit", () => visit($("at").value));
on("use", "click", use);
on("another", "click", async () => {
  choosing = true;
  draw();
});
on("thorough", "click", () => send("/ui/doctor", { thorough: true }));
on("stop-doctor", "click", () => send("/ui/stop"));
on("stop", "click", () => send("/ui/stop"));
on("resume", "click", () => send("/ui/resume"));
on("anew", "click", async () => {
  await send("/ui/clear");
  $("out").value = state.out ?? "";
});
on("fit", "submit", () => {
  const asked = ["budget", "out", "backbone", "size", "engine"].map(id => [id, $(id).value.trim()]);
  return send("/ui/fit", Object.fromEntries(asked));
});
on("try", "click", async () => {
  $("try").disabled = true;
  $("state").textContent = $("try").textContent = "Opening the model …";
  await send("/ui/try");
  $("try").disabled = false;
  $("try").textContent = "Try it";
  if ($("trouble").hidden) location.assign("/try");
});
on("token-form", "submit", () => {
  sessionStorage.setItem("token", $("token").value);
  return look();
});

attempt(async () => {
  await look();
  if (state.folder && !state.doctor && !state.fit) await send("/ui/doctor");
});

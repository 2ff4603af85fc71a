"use strict";
const R = JSON.parse(document.getElementById("data").textContent);
const L = R.ledger, T = L.timeline || { buckets: { t_s: [] }, connections: [], labels: [] };
const $ = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
// Eight colours that stay apart for most eyes and on a projector; red is kept for drops. Generations take turns.
const PALETTE = { light: ["#2f6fde", "#e08a00", "#12967a", "#8a56d6", "#3fa7d6", "#b0760f", "#5b8c2a", "#c2569b"],
  dark: ["#6ea2ff", "#ffb547", "#3fd1ae", "#b48cf2", "#72cdf4", "#d9a441", "#98cc5c", "#ee8cc8"] };
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const fmt = (n) => n === null || n === undefined ? "–" : Math.round(n).toLocaleString("en-US");
const ms = (us) => us === null || us === undefined ? "–" : us >= 1e6 ? fmt(us / 1e3) : us >= 1e5 ? (us / 1e3).toFixed(1)
  : us >= 1e4 ? (us / 1e3).toFixed(1) : (us / 1e3).toFixed(2);
const esc = (s) => String(s ?? "").replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" }[c]));
const kindText = (k) => R.kind_text[k] || k;
const outcomeText = (o) => R.outcome_text[o] || o;
const labels = new Map();
function colour(label) {
  if (label === null || label === undefined || label === "") return css("--idle");
  if (!labels.has(label)) {
    const number = parseInt(String(label).replace(/\D/g, ""), 10);
    labels.set(label, Number.isFinite(number) ? number : labels.size);
  }
  const palette = PALETTE[dark.matches ? "dark" : "light"];
  return palette[labels.get(label) % palette.length];
}

// ---------------------------------------------------------------- words and tables

function oneIn(rate) { return rate > 0 ? `1 in ${fmt(1 / rate)}` : "0"; }

function showVerdict() {
  const t = L.totals, applied = R.reloads.filter((r) => r.applied).length, rejected = R.reloads.length - applied;
  const head = R.verdict === "zero_drops" ? `0 dropped of ${fmt(t.attempts)}`
    : R.verdict === "drops" ? `${fmt(t.drops)} dropped of ${fmt(t.attempts)}` : "No verdict";
  const bound = R.verdict === "cannot_judge" ? esc(R.sentence)
    : R.verdict === "zero_drops"
      ? `With 95 % confidence, fewer than one request in ${fmt(1 / L.drop_rate.upper_95)} is lost.`
      : `That is ${oneIn(L.drop_rate.observed)}; with 95 % confidence at most ${oneIn(L.drop_rate.upper_95)}.`;
  const header = $("verdict");
  header.className = R.verdict;
  header.innerHTML = `<div><p class="what">${esc(R.title)} · ${fmt(applied)} reloads under load` +
    `${rejected ? `, ${fmt(rejected)} bad configurations rejected` : ""}</p><h1>${head}</h1><p class="bound">${bound}</p></div>`;
}

function tile(value, unit, text) { return `<div class="tile"><b>${value}<em> ${unit}</em></b><span>${text}</span></div>`; }

function showTiles() {
  const d = R.durations, q = R.latency || {}, out = [];
  out.push(tile(fmt(L.totals.requests_per_s), "/s", `requests, on ${fmt(L.totals.connections)} connections`));
  if (d) out.push(tile(d.p50.toFixed(d.p50 < 10 ? 2 : 1), "ms", `a reload takes (median; longest ${d.max.toFixed(1)} ms)`));
  for (const [key, text] of [["new_connection", "new connections"], ["kept_alive", "kept-alive connections"]]) {
    const x = q[key];
    if (x && x.inside && x.outside)
      out.push(tile(ms(x.inside.p99_us), "ms", `p99 of ${text} during reloads; ${ms(x.outside.p99_us)} ms otherwise`));
  }
  out.push(tile(fmt((L.removed_backend || {}).requests), "", "requests at a backend after it was removed"));
  $("tiles").innerHTML = out.join("");
}

function lat(x) {
  return ["p50_us", "p99_us", "p99_9_us"].map((k) => `<td>${x ? ms(x[k]) : "–"}</td>`).join("");
}

function dropCell(n) { return `<td class="${n ? "some" : "none"}">${fmt(n)}</td>`; }

function showKinds() {
  const rows = R.kind_order.map((kind) => {
    const k = L.kinds[kind];
    const x = R.latency_by_kind[kind] || k.latency;
    return `<tr><td>${esc(kindText(kind))}</td><td>${fmt(k.connections)}</td><td>${fmt(k.attempts)}</td>${dropCell(k.drops)}` +
      lat(x.outside) + lat(x.inside) + "</tr>";
  });
  const t = L.totals;
  rows.push(`<tr class="sum"><td>all</td><td>${fmt(t.connections)}</td><td>${fmt(t.attempts)}</td>${dropCell(t.drops)}` +
    "<td></td>".repeat(6) + "</tr>");
  $("kinds").innerHTML = `<table><thead><tr><th></th><th></th><th></th><th></th><th class="group" colspan="3">outside reloads, ms</th>
    <th class="group" colspan="3">inside reload windows, ms</th></tr><tr><th>kind</th><th>connections</th><th>requests</th>
    <th>dropped</th><th>p50</th><th>p99</th><th>p99.9</th><th>p50</th><th>p99</th><th>p99.9</th></tr></thead>
    <tbody>${rows.join("")}</tbody></table>`;
}

function showLives() {
  const lives = L.long_lived || {}, kinds = R.kind_order.filter((kind) => lives[kind]);
  if (!kinds.length) return;
  $("lives-card").hidden = false;
  const lingered = R.reloads.filter((r) => r.lingered_s !== undefined).map((r) => r.lingered_s).sort((a, b) => a - b);
  if (lingered.length) $("lives-lead").textContent = "After the answer of its reload an old process lived on for " +
    `${lingered[Math.floor((lingered.length - 1) / 2)].toFixed(2)} s (median), ${lingered[lingered.length - 1].toFixed(2)} s at most.`;
  const rows = kinds.map((kind) => {
    const k = lives[kind];
    return `<tr><td>${esc(kindText(kind))}</td><td>${fmt(k.connections)}</td>${dropCell(k.cut)}<td>${fmt(k.closed_idle)}</td>` +
      `<td>${fmt(k.told_to_leave)}</td><td>${fmt(k.crossings)}</td><td>${fmt(k.most_crossed)}</td><td>${k.longest_s.toFixed(1)}</td></tr>`;
  });
  $("lives").innerHTML = `<table><thead><tr><th>kind</th><th>connections</th><th>cut</th><th>closed while idle</th>
    <th>told to leave</th><th>reloads crossed, all</th><th>most by one</th><th>longest, s</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

function showLatency() {
  const items = [["new_connection", "new connections"], ["kept_alive", "kept-alive"]]
    .map(([key, text]) => [text, (R.latency || {})[key]]).filter(([, x]) => x && x.outside);
  const worst = Math.max(1, ...items.flatMap(([, x]) => [x.outside, x.inside].filter(Boolean).map((l) => l.p99_9_us)));
  const low = 10, pos = (us) => 100 * Math.max(0, Math.log(Math.max(us, low) / low) / Math.log(worst * 1.15 / low));
  const bar = (l, name, c) => l ? `<div class="bar"><div class="track"><i style="width:${pos(l.p50_us)}%;background:${c}"></i>
    <i style="width:${pos(l.p99_us)}%;background:${c};opacity:.45"></i><i style="width:${pos(l.p99_9_us)}%;background:${c};opacity:.2"></i></div>
    <span>${name}: ${ms(l.p50_us)} / ${ms(l.p99_us)} / ${ms(l.p99_9_us)}</span></div>` : "";
  $("latency").innerHTML = `<p class="lead">p50, p99 and p99.9 in milliseconds, darker to lighter; the scale is logarithmic.
    A window lasts from the request of a reload until shortly after its answer.</p><div class="bars">` +
    items.map(([text, x]) => `<div class="name">${text}</div><div class="pair">${bar(x.outside, "outside", colour("g0"))}` +
      `${bar(x.inside, "inside", colour("g1"))}</div>`).join("") + "</div>";
}

function showReloads() {
  const worst = Math.max(1, ...R.reloads.map((r) => r.duration_ms));
  $("reload-lead").textContent = `How long each took until it was answered; the tallest is ${worst.toFixed(1)} ms.` +
    (R.reloads.some((r) => !r.applied) ? " Grey: a bad configuration, rejected." : "");
  $("reload-chart").innerHTML = R.reloads.map((r) => `<i title="reload ${r.number}: ${r.duration_ms.toFixed(1)} ms, ${esc(r.text)}"
    style="height:${Math.max(2, 100 * r.duration_ms / worst)}%;background:${r.applied ? colour(r.label) : css("--idle")}"></i>`).join("");
  const rows = R.reloads.map((r, i) => {
    const m = L.marks[i] || {}, x = m.latency || {};
    return `<tr><td>${r.number}</td><td class="text">${esc(r.text)}${r.frozen ? " <span class=muted>(server stopped meanwhile)</span>" : ""}</td>
      <td class="text">${r.applied ? "applied" : "<span class=muted>rejected, as it must</span>"}</td><td class="text">${esc(r.by)}</td>
      <td>${r.duration_ms.toFixed(1)}</td><td>${m.first_with_label_ms === null || m.first_with_label_ms === undefined ? "–" : m.first_with_label_ms.toFixed(1)}</td>
      <td>${fmt(m.attempts_inside)}</td>${dropCell(m.drops_inside || 0)}<td>${x.new_connection ? ms(x.new_connection.p99_us) : "–"}</td>
      <td>${x.kept_alive ? ms(x.kept_alive.p99_us) : "–"}</td></tr>`;
  });
  $("reloads").innerHTML = `<table><thead><tr><th>#</th><th class="text">what changed</th><th class="text">answer</th><th class="text">asked by</th>
    <th>took, ms</th><th>first new answer, ms</th><th>requests inside</th><th>dropped</th><th>new p99, ms</th><th>kept p99, ms</th></tr></thead>
    <tbody>${rows.join("")}</tbody></table>`;
}

function definitions(pairs) {
  return `<dl>${pairs.map(([a, b]) => `<dt>${esc(a)}</dt><dd>${b}</dd>`).join("")}</dl>`;
}

function showFacts() {
  const c = L.comparison || {}, rb = L.removed_backend || {};
  const kernel = Object.entries(R.kernel_counters).filter(([, v]) => v).map(([k, v]) => `${k} +${v}`).join(", ");
  $("comparison").innerHTML = definitions([
    ["answered, as clients saw it", fmt(c.answered)], ["requests, as backends saw it", fmt(c.backend_records)],
    ["answered, but seen by no backend", fmt(c.answered_not_seen)], ["seen, but sent by no client", fmt(c.seen_not_sent)],
    ["executed twice", fmt(c.duplicated)], ["tried again before any byte", fmt(c.retried)],
    ["request bodies that arrived wrong", fmt(c.request_body_wrong)],
    ["at a backend already removed", `${fmt(rb.requests)} <span class="muted">(counted by ${esc(rb.counted)})</span>`],
    ["pipelined behind an announced close", `${fmt(L.totals.unserved)} <span class="muted">(not processed, said so)</span>`],
    ["lost in queues of this machine's kernel", kernel ? `${esc(kernel)} <span class="muted">(all programs; a lost handshake is repeated)</span>` : "none"]]);
  const env = Object.entries(R.environment).map(([k, v]) => [k, k === "command" ? `<code>${esc(v)}</code>` : esc(v)]);
  $("environment").innerHTML = definitions([...env, ...R.notes.map((n) => ["note", esc(n)])]);
  $("help").innerHTML = definitions(HELP);
  if (R.log) { $("log-card").hidden = false; $("log").textContent = R.log; }
  if (R.problems.length) {
    $("problems").hidden = false;
    $("problems").innerHTML = `<b>Not as it should be</b><pre>${R.problems.slice(0, 10).map(esc).join("\n")}</pre>`;
  }
}

const HELP = [
  ["a drop", "a request of a correct client that did not get its one correct answer. The client never retries, and never sends on a connection whose end was announced or seen."],
  ["refused", "the connection was not accepted"], ["reset before first byte", "the connection was reset before any part of the answer came"],
  ["closed under a request", "the server closed a kept-alive connection without announcement, while a request was on its way"],
  ["truncated", "an answer or tunnel ended in its middle"], ["timeout", "nothing moved for ten seconds"],
  ["wrong body", "an answer whose bytes are not those the backend sent"], ["unexpected status", "an answer of the balancer's own making, such as 502"],
  ["duplicated", "a request that was executed twice"], ["removed backend", "a request begun after a reload was answered reached a backend that the new configuration no longer has"],
  ["reload window", "from the request of a reload until half a second after its answer, or half the interval between reloads if that is less"],
  ["95 % bound", "for no drops in n requests, 3/n (rule of three); otherwise the exact Clopper-Pearson limit"]];

function showDrops() {
  if (!L.totals.drops) return;
  $("drops-card").hidden = false;
  const seen = Object.entries(L.outcomes).filter(([o, n]) => n && !R.not_drops.includes(o));
  const kinds = Object.entries(L.kinds).filter(([, k]) => k.drops);
  $("outcomes").innerHTML = `<div class="scroll"><table><thead><tr><th></th>${kinds.map(([k]) => `<th>${esc(kindText(k))}</th>`).join("")}<th>all</th></tr></thead>
    <tbody>${seen.map(([o, n]) => `<tr><td>${esc(outcomeText(o))}</td>${kinds.map(([, k]) => `<td>${fmt(k.outcomes[o] || 0)}</td>`).join("")}<td class="some">${fmt(n)}</td></tr>`).join("")}</tbody></table></div>`;
  $("drops").innerHTML = L.drops.map((d, i) => `<li data-i="${i}"><b>${esc(outcomeText(d.outcome))}</b> · ${esc(kindText(d.kind))} · at ${d.t_end_s.toFixed(3)} s
    <div>${esc(d.text)}</div><div class="facts">${facts(d)}</div><div class="history">${history(d)}</div></li>`).join("");
  $("drops").addEventListener("click", (e) => {
    const li = e.target.closest("li");
    if (li) focusDrop(Number(li.dataset.i), false);
  });
}

function facts(d) {
  const parts = [`configuration ${esc(d.label ?? "unknown")}`, `backend ${esc(d.backend ?? "none")}`, `request ${d.request_on_connection + 1} of its connection`];
  if (d.mark) parts.push(`${d.mark.after_request_ms.toFixed(1)} ms after ${esc(d.mark.name)} was asked for`);
  if (d.errno_name) parts.push(esc(d.errno_name));
  parts.push(`nonce <code>${esc(d.nonce)}</code>`, `seed ${esc(R.seed)}`);
  return parts.join(" · ");
}

function history(d) {
  if (!d.history || !d.history.length) return "The connection's first request.";
  return "Before it on this connection: " + d.history.map((h) => `<code>${h.t_send_s.toFixed(3)} s ${esc(h.outcome)} ${esc(h.label ?? "")} ${esc(h.backend ?? "")}</code>`).join("");
}

// ---------------------------------------------------------------- the timeline

const canvas = $("timeline"), pen = canvas.getContext("2d"), tip = $("tip");
const GUTTER = 178, AXIS = 26, BAND = 22, CHART = 150, GAP = 12, HEAD = 20, ROWS_MAX = 32;
const end = Math.max(L.run ? L.run.duration_s : 0, 0.001);
const view = { a: 0, b: end };
const applied = (L.marks || []).filter((m) => m.ok);
let lanes = [], laneHeight = 6, height = 400, flash = null, dragFrom = null, dragTo = null;

function packLanes() {
  const byKind = new Map();
  for (const c of T.connections) {
    if (!byKind.has(c.kind)) byKind.set(c.kind, []);
    byKind.get(c.kind).push(c);
  }
  const out = [];
  const order = [...R.kind_order, ...byKind.keys()].filter((k, i, all) => byKind.has(k) && all.indexOf(k) === i);
  for (const kind of order) {
    const list = byKind.get(kind);
    list.sort((x, y) => x.t0_s - y.t0_s);
    const rows = [];
    for (const c of list) {
      let row = rows.find((r) => r.free <= c.t0_s);
      if (!row && rows.length >= ROWS_MAX && !(c.drops || []).length) continue;
      if (!row) { row = { free: 0, connections: [] }; rows.push(row); }
      row.connections.push(c);
      row.free = c.t1_s + end / 400;
    }
    out.push({ kind, rows });
  }
  return out;
}

function layout() {
  lanes = packLanes();
  const rows = lanes.reduce((n, g) => n + g.rows.length, 0);
  laneHeight = rows > 260 ? 3 : rows > 140 ? 4 : rows > 80 ? 5 : 7;
  let y = AXIS + BAND + GAP + CHART + GAP;
  for (const g of lanes) { g.y = y; y += Math.max(HEAD, g.rows.length * laneHeight) + GAP; }
  height = y;
  const width = canvas.parentElement.clientWidth, scale = devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  canvas.width = width * scale; canvas.height = height * scale;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
}

const plotWidth = () => canvas.parentElement.clientWidth - GUTTER - 8;
const X = (t) => GUTTER + (t - view.a) / (view.b - view.a) * plotWidth();
const timeAt = (x) => view.a + (x - GUTTER) / plotWidth() * (view.b - view.a);

function niceStep(span, wanted) {
  const raw = span / wanted, power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((k) => k * power >= raw);
}

function font(px, weight = 400) { pen.font = `${weight} ${px}px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif`; }

function drawAxis() {
  const step = niceStep(view.b - view.a, Math.max(4, plotWidth() / 110));
  font(13); pen.fillStyle = css("--soft"); pen.textAlign = "center"; pen.textBaseline = "middle";
  pen.strokeStyle = css("--grid"); pen.lineWidth = 1;
  for (let t = Math.ceil(view.a / step) * step; t <= view.b + 1e-9; t += step) {
    const x = Math.round(X(t)) + .5;
    pen.beginPath(); pen.moveTo(x, AXIS - 5); pen.lineTo(x, height); pen.stroke();
    if (x > GUTTER + 12) pen.fillText(`${+t.toFixed(step < .01 ? 4 : step < .1 ? 3 : step < 1 ? 2 : 0)} s`, x, AXIS / 2 - 1);
  }
}

function drawGenerations() {
  const first = R.reloads.length ? firstLabel() : null;
  const pieces = [{ label: first, from: 0 }, ...applied.map((m) => ({ label: m.label, from: m.t_answer_s }))];
  pen.textBaseline = "middle";
  pieces.forEach((p, i) => {
    const a = Math.max(X(p.from), GUTTER), b = Math.min(X(i + 1 < pieces.length ? pieces[i + 1].from : end), GUTTER + plotWidth());
    if (b <= a) return;
    pen.fillStyle = colour(p.label);
    pen.fillRect(a, AXIS, Math.max(1, b - a - 1), BAND - 4);
    if (b - a > 26 && p.label) {
      font(12, 650); pen.textAlign = "center"; pen.fillStyle = dark.matches ? "#10131a" : "#fff";
      pen.fillText(p.label, (a + b) / 2, AXIS + (BAND - 4) / 2 + .5);
    }
  });
  label("configuration", AXIS + (BAND - 4) / 2);
}

/** The configuration of the newest reload answered by then: for connections whose answers name none (tunnels). */
function labelInForce(t) {
  let label = firstLabel();
  for (const m of applied) { if (m.t_answer_s > t) break; label = m.label; }
  return label;
}

function firstLabel() {
  const known = T.labels && T.labels.length ? T.labels[0] : null;
  return known ?? null;
}

function label(text, y, soft) {
  font(14, soft ? 400 : 600); pen.textAlign = "right"; pen.textBaseline = "middle";
  pen.fillStyle = soft ? css("--soft") : css("--ink");
  pen.fillText(text, GUTTER - 12, y);
}

function drawWindows() {
  for (const m of L.marks || []) {
    const a = X(m.t_request_s), b = X(m.window_end_s);
    if (b < GUTTER || a > GUTTER + plotWidth()) continue;
    pen.fillStyle = dark.matches ? "rgba(255,255,255,.045)" : "rgba(20,40,90,.045)";
    const from = Math.max(a, GUTTER);
    pen.fillRect(from, AXIS + BAND, Math.min(b, GUTTER + plotWidth()) - from, height);
  }
}

function drawMarks() {
  const crowd = (L.marks || []).length * (view.b - view.a) / end / plotWidth();  // marks a pixel
  const dense = crowd > .08;
  for (const m of L.marks || []) {
    const x = Math.round(X(m.t_request_s)) + .5;
    if (x < GUTTER || x > GUTTER + plotWidth()) continue;
    pen.strokeStyle = css("--mark"); pen.lineWidth = 1; pen.globalAlpha = crowd > .2 ? .08 : dense ? .2 : .55;
    pen.setLineDash(m.ok ? [] : [3, 4]);
    pen.beginPath(); pen.moveTo(x, AXIS); pen.lineTo(x, height); pen.stroke();
    pen.setLineDash([]);
    if (!dense) {
      pen.globalAlpha = 1; pen.fillStyle = m.ok ? css("--mark") : css("--soft");
      pen.beginPath(); pen.moveTo(x - 4, AXIS - 7); pen.lineTo(x + 4, AXIS - 7); pen.lineTo(x, AXIS); pen.fill();
    }
    pen.globalAlpha = 1;
  }
}

function drawLatency() {
  const B = T.buckets, top = AXIS + BAND + GAP, n = B.t_s.length;
  label("latency", top + 8); label("of answers, log scale", top + 27, true);
  if (!n) return;
  let low = Infinity, high = 0;
  for (let i = 0; i < n; i++) {
    if (B.p50_us[i]) low = Math.min(low, B.p50_us[i]);
    if (B.max_us[i]) high = Math.max(high, B.max_us[i]);
  }
  if (!high) return;
  low = Math.max(10, low / 2); high *= 1.3;
  const ticks = [];
  const Y = (us) => top + CHART - Math.log(Math.max(us, low) / low) / Math.log(high / low) * CHART;
  font(12); pen.textAlign = "left"; pen.fillStyle = css("--soft"); pen.strokeStyle = css("--grid");
  for (let p = 10; p <= high; p *= 10) {
    if (p < low) continue;
    pen.beginPath(); pen.moveTo(GUTTER, Y(p)); pen.lineTo(GUTTER + plotWidth(), Y(p)); pen.stroke();
    ticks.push([p >= 1e6 ? `${p / 1e6} s` : p >= 1000 ? `${p / 1000} ms` : `${p} µs`, Y(p)]);
  }
  pen.save();
  pen.beginPath(); pen.rect(GUTTER, top - 4, plotWidth(), CHART + 8); pen.clip();
  for (const [key, name, width, alpha] of [["max_us", "--soft", 1, .5], ["p99_us", "--accent", 2.2, 1], ["p50_us", "--good", 2.2, 1]]) {
    pen.strokeStyle = css(name); pen.lineWidth = width; pen.globalAlpha = alpha; pen.lineJoin = "round";
    pen.beginPath();
    let on = false;
    for (let i = 0; i < n; i++) {
      const v = B[key][i];
      if (v === null || v === undefined) { on = false; continue; }
      const x = X(B.t_s[i] + T.bucket_ms / 2000);
      if (on) pen.lineTo(x, Y(v)); else pen.moveTo(x, Y(v));
      on = true;
    }
    pen.stroke(); pen.globalAlpha = 1;
  }
  for (let i = 0; i < n; i++) {
    if (!B.drops[i]) continue;
    pen.fillStyle = css("--bad");
    const x = X(B.t_s[i]), w = Math.max(2, X(B.t_s[i] + T.bucket_ms / 1000) - x - 1);
    const h = Math.min(CHART, 6 + 7 * Math.log2(1 + B.drops[i]));
    pen.globalAlpha = .85; pen.fillRect(x, top + CHART - h, w, h); pen.globalAlpha = 1;
  }
  pen.restore();
  font(12, 600); pen.textAlign = "left"; pen.textBaseline = "middle";
  for (const [text, y] of ticks) {
    pen.globalAlpha = .8; pen.fillStyle = css("--card"); pen.fillRect(GUTTER + 1, y - 15, pen.measureText(text).width + 6, 15);
    pen.globalAlpha = 1; pen.fillStyle = css("--soft"); pen.fillText(text, GUTTER + 4, y - 7);
  }
}

function drawLanes() {
  const right = GUTTER + plotWidth();
  for (const g of lanes) {
    label(kindText(g.kind), g.y + 8);
    pen.save();
    pen.beginPath(); pen.rect(GUTTER, g.y - 4, plotWidth(), g.rows.length * laneHeight + 8); pen.clip();
    g.rows.forEach((row, i) => {
      const y = g.y + i * laneHeight, h = laneHeight - 1.5;
      for (const c of row.connections) {
        const a = X(c.t0_s), b = X(c.t1_s);
        if (b < GUTTER || a > right) continue;
        pen.fillStyle = css("--idle");
        pen.fillRect(a, y + h / 2 - .5, Math.max(1, b - a), 1);
        for (const s of c.segments) {
          // A conversation shows who answered its beginning; after a reload it goes on in grey, notched where it crossed.
          const crossed = s.crossed > 0;
          pen.fillStyle = crossed ? css("--idle") : colour(s.label ?? labelInForce(s.t0_s));
          pen.fillRect(X(s.t0_s), y, Math.max(2, X(s.t1_s) - X(s.t0_s)), h);
          if (crossed) { pen.fillStyle = colour(labelInForce(s.t0_s)); pen.fillRect(X(s.t0_s), y, Math.min(4, Math.max(2, X(s.t1_s) - X(s.t0_s))), h); }
        }
      }
    });
    pen.restore();
  }
  for (const g of lanes) g.rows.forEach((row, i) => {
    const y = g.y + i * laneHeight + laneHeight / 2;
    for (const c of row.connections) for (const d of c.drops || []) {
      const x = X(d.t_s);
      if (x >= GUTTER && x <= right) drawDrop(x, y, flash && flash.connection === c.id && Math.abs(flash.t_end_s - d.t_s) < 1e-6);
    }
  });
}

function drawDrop(x, y, big) {
  const r = big ? 9 : 5;
  pen.beginPath(); pen.arc(x, y, r, 0, 7); pen.fillStyle = css("--bad"); pen.fill();
  pen.lineWidth = 2; pen.strokeStyle = css("--card"); pen.stroke();
  if (big) { pen.beginPath(); pen.arc(x, y, 15, 0, 7); pen.strokeStyle = css("--bad"); pen.stroke(); }
}

function draw() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  drawWindows(); drawAxis(); drawLanes(); drawLatency(); drawMarks(); drawGenerations();
  if (dragFrom !== null && dragTo !== null) {
    pen.fillStyle = css("--accent"); pen.globalAlpha = .18;
    pen.fillRect(Math.min(dragFrom, dragTo), AXIS, Math.abs(dragTo - dragFrom), height); pen.globalAlpha = 1;
  }
}

function zoom(a, b) {
  const least = Math.min(end, 0.02);
  if (b - a < least) { const m = (a + b) / 2; a = m - least / 2; b = m + least / 2; }
  if (b - a > end) { a = 0; b = end; }
  if (a < 0) { b -= a; a = 0; }
  if (b > end) { a -= b - end; b = end; }
  view.a = Math.max(0, a); view.b = Math.min(end, b);
  draw();
}
function zoomBy(factor, around = (view.a + view.b) / 2) { zoom(around - (around - view.a) * factor, around + (view.b - around) * factor); }

function focusDrop(index, scroll) {
  const d = L.drops[index];
  if (!d) return;
  flash = d;
  document.querySelectorAll("#drops li").forEach((li, i) => li.classList.toggle("on", i === index));
  zoom(d.t_end_s - .4, d.t_end_s + .4);
  const where = scroll ? document.querySelector(`#drops li[data-i="${index}"]`) : canvas;
  where.scrollIntoView({ behavior: "smooth", block: "center" });
}

function hit(x, y) {
  for (const g of lanes) for (let i = 0; i < g.rows.length; i++) for (const c of g.rows[i].connections) for (const d of c.drops || []) {
    if (Math.hypot(X(d.t_s) - x, g.y + (i + .5) * laneHeight - y) < 8) return { drop: d, connection: c };
  }
  const mark = (L.marks || []).find((m) => Math.abs(X(m.t_request_s) - x) < 3.5);
  if (mark) return { mark };
  const t = timeAt(x);
  for (const g of lanes) {
    const i = Math.floor((y - g.y) / laneHeight);
    if (i < 0 || i >= g.rows.length) continue;
    const slack = (view.b - view.a) / plotWidth() * 3;
    const c = g.rows[i].connections.find((k) => k.t0_s - slack <= t && t <= k.t1_s + slack);
    if (c) return { connection: c, t };
  }
  const top = AXIS + BAND + GAP;
  if (y >= top && y <= top + CHART && T.buckets.t_s.length) {
    const i = T.buckets.t_s.findIndex((s) => s <= t && t < s + T.bucket_ms / 1000);
    if (i >= 0) return { bucket: i };
  }
  return null;
}

function storyIndex(h) {
  return L.drops.findIndex((d) => d.connection === h.connection.id && Math.abs(d.t_end_s - h.drop.t_s) < .002);
}

/* What crossed a reload, and how long the old process lived on. */
function longLived(m, r) {
  const kinds = Object.entries(m.long_lived || {}).map(([kind, n]) =>
    `${fmt(n.crossed)} ${esc(kindText(kind))}${n.cut + n.closed_idle ? ` (${fmt(n.cut + n.closed_idle)} cut)` : ""}`);
  const lived = r.lingered_s === undefined ? "" : `<br>the old process ${r.lingers_still ? "was still there after" : "lived on for"} ${r.lingered_s.toFixed(2)} s`;
  return (kinds.length ? "<br>crossed by " + kinds.join(", ") : "") + lived;
}

function describe(h) {
  if (h.drop) {
    const story = L.drops[storyIndex(h)];
    return `<b>${esc(outcomeText(h.drop.outcome))} at ${h.drop.t_s.toFixed(3)} s</b>${story ? esc(story.text) + "<br>click for the whole story" : ""}`;
  }
  if (h.mark) {
    const m = h.mark, r = R.reloads[(L.marks || []).indexOf(m)] || {};
    return `<b>${esc(m.name)}</b>${m.ok ? `applied after ${m.answer_ms.toFixed(1)} ms, now ${esc(m.label)}` : "rejected, as it must be"}<br>` +
      `${fmt(m.attempts_inside)} requests in its window, ${fmt(m.drops_inside)} dropped${longLived(m, r)}${r.frozen ? "<br>the serving process was stopped meanwhile, so that the queue filled" : ""}`;
  }
  if (h.bucket !== undefined) {
    const B = T.buckets, i = h.bucket;
    return `<b>${B.t_s[i].toFixed(1)} s</b>${fmt(B.n[i])} answers · p50 ${ms(B.p50_us[i])} · p99 ${ms(B.p99_us[i])} · longest ${ms(B.max_us[i])} ms` +
      (B.drops[i] ? `<br>${fmt(B.drops[i])} dropped` : "");
  }
  const c = h.connection, s = c.segments.find((g) => g.t0_s <= h.t && h.t <= g.t1_s);
  return `<b>${esc(kindText(c.kind))}, connection ${c.id}</b>${c.t0_s.toFixed(3)} s to ${c.t1_s.toFixed(3)} s, ${fmt(c.requests)} requests` +
    (s && s.crossed > 0 ? `<br>open across ${fmt(s.crossed)} reloads by now` : s ? `<br>${s.label === null || s.label === undefined ? `opened under ${esc(labelInForce(s.t0_s))}` : `answered by ${esc(s.label)}`}, ${fmt(s.requests)} requests` : "<br>quiet here");
}

function pointer(e) {
  const box = canvas.getBoundingClientRect();
  return [e.clientX - box.left, e.clientY - box.top];
}

function connectCanvas() {
  canvas.addEventListener("mousemove", (e) => {
    const [x, y] = pointer(e);
    if (dragFrom !== null) { dragTo = x; tip.hidden = true; draw(); return; }
    const h = x >= GUTTER ? hit(x, y) : null;
    tip.hidden = !h;
    canvas.style.cursor = h && h.drop ? "pointer" : "crosshair";
    if (!h) return;
    tip.innerHTML = describe(h);
    const box = canvas.getBoundingClientRect();
    tip.style.left = `${Math.min(x + 16, box.width - tip.offsetWidth - 4)}px`;
    tip.style.top = `${y + tip.offsetHeight + 24 > box.height ? y - tip.offsetHeight - 14 : y + 18}px`;
  });
  canvas.addEventListener("mouseleave", () => { tip.hidden = true; });
  canvas.addEventListener("mousedown", (e) => { const [x] = pointer(e); if (x >= GUTTER) { dragFrom = x; dragTo = null; } });
  addEventListener("mouseup", (e) => {
    if (dragFrom === null) return;
    const [x, y] = pointer(e), from = dragFrom;
    dragFrom = dragTo = null;
    if (Math.abs(x - from) > 6) { zoom(timeAt(Math.min(x, from)), timeAt(Math.max(x, from))); return; }
    const h = hit(x, y);
    if (h && h.drop) focusDrop(storyIndex(h), true); else draw();
  });
  canvas.addEventListener("dblclick", () => { flash = null; zoom(0, end); });
  canvas.addEventListener("wheel", (e) => {
    if (!e.ctrlKey) return;
    e.preventDefault(); zoomBy(e.deltaY > 0 ? 1.25 : .8, timeAt(pointer(e)[0]));
  }, { passive: false });
  canvas.addEventListener("keydown", (e) => {
    const span = view.b - view.a;
    const act = { "+": () => zoomBy(.6), "-": () => zoomBy(1.7), ArrowLeft: () => zoom(view.a - span / 5, view.b - span / 5),
      ArrowRight: () => zoom(view.a + span / 5, view.b + span / 5), Escape: () => zoom(0, end) }[e.key];
    if (act) { e.preventDefault(); act(); }
  });
  $("zoom-in").onclick = () => zoomBy(.5);
  $("zoom-out").onclick = () => zoomBy(2);
  $("zoom-reset").onclick = () => { flash = null; zoom(0, end); };
}

function showLegend() {
  $("legend").innerHTML = [["--good", "p50"], ["--accent", "p99"], ["--soft", "longest"], ["--bad", "dropped"]]
    .map(([c, t]) => `<span><i style="background:var(${c})"></i>${t}</span>`).join("");
}

function showAll() {
  showVerdict(); showTiles(); showKinds(); showLives(); showLatency(); showReloads(); showFacts(); showDrops(); showLegend();
  layout(); draw();
}
showAll();
connectCanvas();
const wanted = /^#drop-(\d+)$/.exec(location.hash);  // a link to the story of one drop
if (wanted) focusDrop(Number(wanted[1]) - 1, false);
addEventListener("resize", () => { layout(); draw(); });
dark.addEventListener("change", () => { showLives(); showLatency(); showReloads(); draw(); });

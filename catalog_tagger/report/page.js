"use strict";
(() => {
  const { flags, tracks, shows, step, review } = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 40;
  const SVG = "http://www.w3.org/2000/svg";
  const clock = (s) => {
    const whole = Math.floor(s);
    const [h, m, sec] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    return (h ? `${h}:${String(m).padStart(2, "0")}` : m) + ":" + String(sec).padStart(2, "0");
  };
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const draw = (name, attributes) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  // A timeline's characters as heights, and as stretches in which the thing is heard.
  const level = (character) => (character === "." ? null : parseInt(character, 36) / 35);
  const area = (line, top, height) => {
    let path = "";
    for (let i = 0; i < line.length; i++) {
      const p = level(line[i]);
      if (p) path += `M${i * step} ${top + height}V${(top + height * (1 - p)).toFixed(1)}H${(i + 1) * step}V${top + height}Z`;
    }
    return path;
  };
  const stretches = (line, holds) => {
    const found = [];
    for (let i = 0; i < line.length; i++) {
      if (!holds(level(line[i]))) continue;
      if (found.length && found[found.length - 1][1] === i * step) found[found.length - 1][1] = (i + 1) * step;
      else found.push([i * step, (i + 1) * step]);
    }
    return found;
  };
  const inWords = (name, parts, most = 4) => {
    if (!parts.length) return `no ${name}`;
    const said = parts.slice(0, most).map(([a, b]) => `${clock(a)} to ${clock(b)}`).join(", ");
    return `${name} ${said}${parts.length > most ? ` and ${parts.length - most} more stretches` : ""}`;
  };

  const timeline = (track, marks, seek) => {
    const length = Math.max(track.d, step);
    const heard = (p) => p !== null && p >= 0.5;
    const words = [inWords("speech", stretches(track.s, heard)), inWords("music", stretches(track.m, heard))];
    if (track.o.length) words.push(`songs ${track.o.map((o) => `${o[2]} from ${clock(o[0])} to ${clock(o[1])}`).join(", ")}`);
    const svg = draw("svg", { viewBox: `0 0 ${length} 100`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${clock(track.d)} long: ${words.join("; ")}` });
    for (const [a, b] of marks) svg.append(draw("rect", { class: "mark", x: a, y: 0, width: Math.max(b - a, length / 300), height: 100 }));
    for (const [a, b] of stretches(track.s || track.m, (p) => p === null)) svg.append(draw("rect", { class: "unheard", x: a, y: 0, width: b - a, height: 80 }));
    svg.append(draw("path", { class: "speech", d: area(track.s, 2, 36) }), draw("path", { class: "music", d: area(track.m, 42, 36) }));
    for (const [a, b, song] of track.o) {
      const rect = draw("rect", { class: "song", x: a, y: 84, width: Math.max(b - a, length / 300), height: 14 });
      const title = draw("title", {});
      title.textContent = `${song}, ${clock(a)} to ${clock(b)}`;
      rect.append(title);
      svg.append(rect);
    }
    const head = draw("line", { class: "head", x1: -9, x2: -9, y1: 0, y2: 100, "vector-effect": "non-scaling-stroke" });
    svg.append(head);
    svg.addEventListener("click", (event) => {
      const box = svg.getBoundingClientRect();
      seek(((event.clientX - box.left) / box.width) * length);
    });
    const names = make("div", { class: "names", "aria-hidden": "true" }, make("span", {}, "speech"), make("span", {}, "music"), make("span", {}, track.o.length ? "songs" : ""));
    const ticks = make("div", { class: "ticks", "aria-hidden": "true" }, ...[0, 0.25, 0.5, 0.75, 1].map((at) => make("span", {}, clock(at * track.d))));
    return { element: make("div", { class: "lanes" }, names, svg, ticks), move: (s) => { head.setAttribute("x1", s); head.setAttribute("x2", s); } };
  };

  // What is told and played of a track; the audio is made when it is wanted, so that thousands cost nothing.
  let playing = null;
  const player = (track, marks) => {
    let audio = null;
    const box = make("div", { class: "evidence" });
    const play = (at) => {
      if (!track.a) return;
      if (!audio) {
        audio = make("audio", { controls: "", preload: "metadata", src: track.a, "aria-label": `audio of ${track.i}` });
        audio.addEventListener("timeupdate", () => line.move(audio.currentTime));
        audio.addEventListener("error", () => audio.replaceWith(make("span", { class: "soft" }, "The audio cannot be reached from here.")));
        box.append(audio);
      }
      if (playing && playing !== audio) { playing.pause(); playing.preload = "none"; }
      playing = audio;
      const start = () => { if (playing === audio) { audio.currentTime = at; audio.play().catch(() => {}); } };
      if (audio.readyState) start(); else audio.addEventListener("loadedmetadata", start, { once: true });
    };
    const line = timeline(track, marks, play);
    const toggle = (at) => (audio && !audio.paused ? audio.pause() : play(at));
    return { line, box, play, toggle };
  };
  const playButton = (track, at, text, play) => {
    const button = make("button", { type: "button", "aria-label": `play ${track.i} from ${clock(at)}` }, text);
    button.addEventListener("click", () => play(at));
    return button;
  };

  const spent = (track) => track.d && `${clock(track.d)} long${track.d - track.h > 1 ? `, ${clock(track.h)} of it heard` : ""}`;
  const article = (flag, number) => {
    const track = typeof flag.t === "number" ? tracks[flag.t] : { i: flag.t, u: "", a: null, d: 0, h: 0, s: "", m: "", o: [] };
    const id = `flag-${number}`;
    const body = make("article", { class: "flag", tabindex: "-1", "aria-labelledby": id });
    body.append(make("header", {}, make("h3", { id }, track.i), make("span", { class: "chip" }, flag.k.replace(/_/g, " ")),
      make("span", { class: "sure" }, `${(100 * flag.p).toFixed(1)} %`), make("span", { class: `chip ${flag.n}` }, flag.n),
      make("span", { class: "soft" }, spent(track) || "")));
    body.append(make("p", {}, flag.r));
    const marks = flag.e.map(([a, b]) => [a, b]);
    const { line, box, play, toggle } = player(track, marks);
    if (track.d) body.append(line.element);
    if (flag.g) box.append(make("img", { src: flag.g[0], alt: `CQT-gram of ${clock(flag.g[1])} to ${clock(flag.g[2])}`, loading: "lazy", decoding: "async" }));
    const list = make("ul");
    for (const [a, b, scores] of flag.e.slice(0, 6)) {
      const numbers = scores.map(([name, score]) => `${name.replace(/_/g, " ")} ${score.toFixed(2)}`).join(", ");
      const words = `${clock(a)} to ${clock(b)}${numbers ? `: ${numbers}` : ""} `;
      list.append(make("li", {}, words, ...(track.a ? [playButton(track, a, "▶ play", play)] : [])));
    }
    if (flag.e.length) box.append(list);
    if (!track.a && track.u) box.append(make("span", { class: "soft" }, track.u));
    body.append(box);
    body.toggle = () => toggle(flag.e.length ? flag.e[0][0] : 0);
    if (review) {
      const verdict = make("span", { class: "verdict", role: "status" });
      const buttons = [["accepted", "Accept", "a"], ["dismissed", "Dismiss", "d"], ["withdrawn", "Take back", "u"]].map(([word, text, key]) => {
        const button = make("button", { type: "button", "aria-keyshortcuts": key, "aria-label": `${text}: ${track.i}` }, text);
        button.addEventListener("click", () => decide(flag, word));
        return button;
      });
      body.append(make("div", { class: "evidence" }, ...buttons, verdict));
      body.decide = (word) => decide(flag, word);
      body.tell = () => {
        const [word, reviewer] = decisions[flag.i] || ["withdrawn", ""];
        const waiting = unsent.get(flag.i);
        verdict.textContent = word === "withdrawn" ? "" : `${word} by ${reviewer}`;
        if (waiting) verdict.textContent = waiting.error ? `NOT KEPT (${waiting.decision}): ${waiting.error}` : "…";
        verdict.classList.toggle("bad", Boolean(waiting && waiting.error));
        body.classList.toggle("decided", word !== "withdrawn");
      };
      body.tell();
    }
    return body;
  };

  // Decisions: sent one by one, and fetched again and again for those of other reviewers.
  let decisions = {};
  const kept = document.getElementById("kept");
  const told = (found) => {
    decisions = found;
    for (const body of document.querySelectorAll("article.flag")) if (body.tell) body.tell();
    const count = Object.values(decisions).filter(([word]) => word !== "withdrawn").length;
    kept.textContent = `${count.toLocaleString("en")} decided.`;
  };
  let asked = 0;
  let heard = 0;
  const ask = async (options) => {
    const number = ++asked; // an answer that was overtaken says what was, not what is
    const answer = await fetch("decisions", options);
    if (!answer.ok) throw new Error(await answer.text());
    const found = await answer.json();
    if (number > heard) { heard = number; told(found); }
  };
  // What could not be kept stays marked, and is sent again, until it is kept or decided otherwise.
  const unsent = new Map();
  const send = (id, decision) =>
    ask({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ flag: id, decision }) })
      .then(() => { if (unsent.get(id)?.decision === decision) { unsent.delete(id); told(decisions); } });
  const decide = (flag, decision) => {
    unsent.set(flag.i, { decision, error: "" });
    told(decisions);
    return send(flag.i, decision).catch((error) => { unsent.set(flag.i, { decision, error: error.message }); told(decisions); });
  };

  // Pages of a list: more are made when the end comes into view.
  const list = (holder, items, build) => {
    let shown = 0;
    holder.replaceChildren();
    const end = make("button", { type: "button" }, "Show more");
    const more = () => {
      end.remove();
      holder.append(...items.slice(shown, shown + PAGE).map((item, at) => build(item, shown + at)));
      shown += PAGE;
      if (shown < items.length) { holder.append(end); watch.observe(end); }
    };
    const watch = new IntersectionObserver((entries) => entries.some((one) => one.isIntersecting) && more(), { rootMargin: "600px" });
    end.addEventListener("click", more);
    more();
    return { more, close: () => watch.disconnect() };
  };

  const holder = document.getElementById("flags");
  const form = document.querySelector("form.filter");
  let present = null;
  const refresh = () => {
    if (present) present.close();
    const { kind, state, text } = Object.fromEntries(new FormData(form));
    const wanted = text.trim().toLowerCase();
    const fits = (flag) => (!kind || flag.k === kind) && (!state || flag.n === state) &&
      (!wanted || `${typeof flag.t === "number" ? tracks[flag.t].i : flag.t} ${flag.r} ${flag.c} ${flag.s}`.toLowerCase().includes(wanted));
    const found = flags.filter(fits);
    document.getElementById("count").textContent = `${found.length.toLocaleString("en")} of ${flags.length.toLocaleString("en")} flags`;
    present = list(holder, found, article);
  };
  if (form) {
    form.addEventListener("input", refresh);
    form.addEventListener("submit", (event) => event.preventDefault());
    refresh();
  }
  const songs = document.getElementById("shows");
  if (songs) list(songs, shows, ([at, count, seconds], number) => {
    const track = tracks[at];
    const body = make("article", { class: "flag", "aria-labelledby": `show-${number}` });
    body.append(make("header", {}, make("h3", { id: `show-${number}` }, track.i),
      make("span", { class: "soft" }, `${count} ${count === 1 ? "song" : "songs"}, ${clock(seconds)} of ${clock(track.d)}`)));
    const { line, box, play } = player(track, track.o.map(([a, b]) => [a, b]));
    const rows = make("ul");
    for (const [a, b, song] of track.o.slice(0, 12)) rows.append(make("li", {}, `${clock(a)} to ${clock(b)}: ${song} `, ...(track.a ? [playButton(track, a, "▶ play", play)] : [])));
    box.append(rows);
    body.append(line.element, box);
    return body;
  });

  // j and k go from flag to flag, p plays, / searches.
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, audio")) return;
    const all = [...holder.querySelectorAll("article")];
    const at = all.indexOf(document.activeElement.closest("article"));
    if (event.key === "j" || event.key === "k") {
      const next = all[Math.min(all.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)))];
      if (next) { next.focus(); next.scrollIntoView({ block: "start" }); if (next === all[all.length - 1] && present) present.more(); }
    } else if (event.key === "p" && at >= 0) all[at].toggle();
    else if (review && at >= 0 && "adu".includes(event.key)) all[at].decide({ a: "accepted", d: "dismissed", u: "withdrawn" }[event.key]);
    else if (event.key === "/" && form) { form.elements.text.focus(); event.preventDefault(); }
  });

  if (review && kept) {
    const again = () => Promise.all([...unsent].map(([id, { decision, error }]) => error && send(id, decision).catch(() => {}))).then(() => ask()).catch((error) => { kept.textContent = `${error.message}`; }).finally(() => setTimeout(again, 5000));
    again();
  }

  const button = document.getElementById("theme");
  button.addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  });
})();

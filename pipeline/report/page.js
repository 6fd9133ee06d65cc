"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* file pages may have no storage */ } };
  const recall = (key) => { try { return localStorage.getItem(key); } catch { return null; } };

  // Without scripts the page plays and follows the system's theme; these need scripts, so they show up with them.
  for (const part of document.querySelectorAll(".tools, .filter")) part.hidden = false;

  // Playing and pausing: all clips run on one clock, so one frame number fits all.
  const play = byId("play"), scrub = byId("scrub");
  const films = document.querySelectorAll(".film img");
  const currentFrame = () => {
    for (const image of films) {
      const [animation] = image.getAnimations();
      const frames = Number(image.parentElement.style.getPropertyValue("--n"));
      const duration = animation && animation.effect.getComputedTiming().duration;
      if (duration) return Math.floor(((animation.currentTime || 0) % duration) / duration * frames);
    }
    return Number(scrub.value);
  };
  const showFrame = (frame) => { scrub.value = frame; root.style.setProperty("--frame", scrub.value); };
  const setMotion = (playing) => {
    if (!playing) showFrame(currentFrame());
    root.dataset.motion = playing ? "playing" : "paused";
    play.textContent = playing ? "Pause" : "Play";
    play.setAttribute("aria-pressed", String(!playing));
  };
  const isPlaying = () => root.dataset.motion === "playing";
  setMotion(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  play.addEventListener("click", () => setMotion(!isPlaying()));
  scrub.addEventListener("input", () => showFrame(scrub.value));
  document.addEventListener("keydown", (event) => {
    if (event.key === "p" && !event.ctrlKey && !event.metaKey && !event.altKey) setMotion(!isPlaying());
  });

  // Theme: auto, light, dark.
  const themes = ["auto", "light", "dark"], theme = byId("theme");
  const setTheme = (name) => {
    if (name === "auto") delete root.dataset.theme; else root.dataset.theme = name;
    theme.textContent = `Theme: ${name}`;
    store("report-theme", name);
  };
  setTheme(themes.includes(recall("report-theme")) ? recall("report-theme") : "auto");
  theme.addEventListener("click", () => setTheme(themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % 3]));

  // Which prompts to show.
  const filters = document.querySelectorAll("[data-filter]");
  for (const button of filters) button.addEventListener("click", () => {
    for (const other of filters) other.setAttribute("aria-pressed", String(other === button));
    const wanted = { all: null, wrong: "yes", right: "no" }[button.dataset.filter];
    for (const prompt of document.querySelectorAll(".prompt")) prompt.hidden = wanted !== null && prompt.dataset.wrong !== wanted;
  });

  // Values of line charts under the pointer, a finger or the arrow keys: a cursor at the nearest x.
  const tip = byId("tip");
  const say = (value) => value === null ? "–" : Math.abs(value) >= 1000 ? value.toLocaleString("en") : String(value);
  for (const svg of document.querySelectorAll("svg[data-hover]")) {
    const chart = JSON.parse(svg.dataset.hover);
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    let index = chart.px.length - 1;
    const show = () => {
      const box = svg.getBoundingClientRect(), px = chart.px[index];
      for (const [name, value] of [["x1", px], ["x2", px], ["y1", chart.top], ["y2", chart.bottom]]) cursor.setAttribute(name, value);
      svg.append(cursor);
      tip.textContent = `${chart.label} ${say(chart.x[index])}\n` + chart.lines.map((line) => `${line.name}: ${say(line.y[index])}`).join("\n");
      tip.hidden = false;
      const left = box.left + px * box.width / svg.viewBox.baseVal.width + 12;
      tip.style.left = `${Math.max(4, Math.min(left, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${Math.max(4, box.top + 14)}px`;
    };
    const hide = () => { tip.hidden = true; cursor.remove(); };
    const point = (event) => {
      const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      index = chart.px.reduce((best, px, i) => Math.abs(px - at) < Math.abs(chart.px[best] - at) ? i : best, 0);
      show();
    };
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
    svg.addEventListener("focus", show);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      index = Math.max(0, Math.min(chart.px.length - 1, index + step));
      show();
    });
  }
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // A line of words under each table that is wider than the screen.
  const hint = () => {
    for (const line of document.querySelectorAll(".swipe")) {
      const box = line.previousElementSibling;
      line.hidden = box.scrollWidth <= box.clientWidth + 1;
    }
  };
  hint();
  addEventListener("resize", hint);
})();

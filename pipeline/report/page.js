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

  // Hover on line charts: a cursor at the nearest x, and every line's value there.
  const tip = byId("tip");
  const tell = (value) => Math.abs(value) >= 1000 ? value.toLocaleString("en") : String(Number(value.toPrecision(4)));
  const nearest = (points, x) => points.reduce((best, point) => Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best);
  for (const svg of document.querySelectorAll("svg[data-hover]")) {
    const chart = JSON.parse(svg.dataset.hover);
    const all = [...new Set(chart.series.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    let index = all.length - 1;
    const place = (x) => chart.left + (x - chart.x[0]) / (chart.x[1] - chart.x[0]) * (chart.right - chart.left);
    const show = () => {
      const x = all[index], box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
      const [top, bottom] = [12, svg.viewBox.baseVal.height - 40];
      for (const [name, value] of [["x1", place(x)], ["x2", place(x)], ["y1", top], ["y2", bottom]]) cursor.setAttribute(name, value);
      svg.append(cursor);
      tip.textContent = `${chart.label} ${tell(x)}\n` + chart.series.map((line) => `${line.name}: ${tell(nearest(line.points, x)[1])}`).join("\n");
      tip.hidden = false;
      const left = box.left + place(x) * scale + 12;
      tip.style.left = `${Math.max(4, Math.min(left, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${Math.max(4, box.top + 14)}px`;
    };
    const hide = () => { tip.hidden = true; cursor.remove(); };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      index = all.reduce((best, x, i) => Math.abs(place(x) - at) < Math.abs(place(all[best]) - at) ? i : best, 0);
      show();
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focus", show);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      index = Math.max(0, Math.min(all.length - 1, index + step));
      show();
    });
  }
})();

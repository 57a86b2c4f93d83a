// The video beside the timeline: seeking, loops, slow motion, single frames. Nothing leaves the machine.
(() => {
  const { $, clock } = report;
  const SPEEDS = [1, 0.5, 0.25, 0.125];
  const video = $("video"), said = $("media-note"), pick = $("media-file");
  let recording = report.data.recordings[0] ?? null;
  let film = null, loop = null, speed = 1, wanted = null;
  if (!recording) return;
  $("player").hidden = false;
  video.muted = true; // slow sound is noise, and browsers refuse it

  const chosen = new Map(); // film → address of a file that the user chose

  const toFile = (ms) => ((ms - film.from) / 1000) * film.scale;
  const toMedia = (s) => (s / film.scale) * 1000 + film.from;
  const frame = () => 1000 / recording.fps;

  const note = (text, choose) => {
    said.textContent = text;
    said.hidden = !text;
    pick.parentElement.hidden = !choose;
  };

  // the film that shows a moment, or the one nearest to it
  const filmAt = (ms) => {
    const away = (one) => Math.max(one.from - ms, ms - one.to, 0);
    return [...recording.films].sort((a, b) => away(a) - away(b))[0] ?? null;
  };

  const open = (next) => {
    if (next === film && video.src) return;
    film = next;
    video.hidden = !film;
    if (!film) {
      video.removeAttribute("src");
      note(recording.live ? "No video was kept of this session (--record keeps one)." : "There is no video of this recording.", false);
      return;
    }
    note("", false);
    video.src = chosen.get(film) ?? film.src;
    video.playbackRate = video.defaultPlaybackRate = speed;
  };

  report.seek = (one, ms) => {
    if (one !== recording) {
      recording = one;
      film = null;
    }
    $("media-of").textContent = report.data.recordings.length > 1 ? recording.id : "";
    open(filmAt(ms));
    wanted = Math.min(recording.ms, Math.max(0, ms));
    if (film && video.readyState > 0) video.currentTime = Math.max(0, toFile(wanted) + 0.001);
    told();
  };

  const now = () => (film && video.readyState > 0 ? toMedia(video.currentTime) : (wanted ?? 0));
  report.now = () => ({ recording, ms: now() });

  const told = () => {
    const ms = now();
    $("media-time").textContent = clock(ms);
    report.tell("time", recording, ms);
  };

  // from frame to frame where the browser tells them, else with the screen
  const follow = () => {
    if (loop && film && !video.paused && !video.seeking) {
      const at = toMedia(video.currentTime);
      if (at > loop.to || at < loop.from - 2 * frame()) video.currentTime = Math.max(0, toFile(loop.from) + 0.001);
    }
    if (!video.paused) told();
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(follow);
    else requestAnimationFrame(follow);
  };
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(follow);
  else requestAnimationFrame(follow);

  video.addEventListener("loadedmetadata", () => {
    const expected = toFile(film.to);
    if (Number.isFinite(video.duration) && expected > 1 && Math.abs(video.duration - expected) > 1 + 0.02 * expected)
      note(`This file is ${clock(1000 * video.duration, 1)} long, the analysed part ${clock(1000 * expected, 1)}: is it the right one?`, true);
    if (wanted !== null) video.currentTime = Math.max(0, toFile(wanted) + 0.001);
    told();
  });
  video.addEventListener("seeked", told);
  video.addEventListener("pause", () => { wanted = null; told(); state(); });
  video.addEventListener("play", () => { wanted = null; state(); });
  video.addEventListener("ended", () => { if (loop) { report.seek(recording, loop.from); video.play().catch(() => {}); } });
  video.addEventListener("error", () => {
    if (!video.getAttribute("src")) return;
    video.hidden = true;
    note(`The video cannot be shown: ${film.name} is not at ${decodeURI(film.src)} from this page, or this browser cannot play its type. ` +
      "Choose the file, or an MP4 copy of it:", true);
  });
  pick.addEventListener("change", () => {
    const [file] = pick.files;
    if (!file || !film) return;
    chosen.set(film, URL.createObjectURL(file));
    video.hidden = false;
    note("", false);
    video.src = chosen.get(film);
    video.playbackRate = video.defaultPlaybackRate = speed;
  });

  const state = () => {
    $("play").textContent = video.paused ? "Play" : "Pause";
    $("loop").setAttribute("aria-pressed", String(Boolean(loop)));
    for (const button of document.querySelectorAll("[data-speed]"))
      button.setAttribute("aria-pressed", String(Number(button.dataset.speed) === speed));
  };

  const controls = {
    play: () => (video.paused ? video.play().catch(() => {}) : video.pause()),
    speed: (value) => {
      speed = value;
      video.playbackRate = video.defaultPlaybackRate = value;
      state();
    },
    loop: (on = !loop) => {
      const one = report.chosen;
      loop = on && one ? { from: one.onset, to: one.offset } : null;
      if (loop) {
        report.seek(report.recordings.get(one.source), loop.from);
        video.play().catch(() => {});
      }
      state();
    },
    step: (by) => {
      video.pause();
      // a quarter of a frame inside it: on its border a browser may show the one before
      const index = Math.floor(now() / frame() + 0.01) + by;
      report.seek(recording, (index + 0.25) * frame());
    },
  };
  report.controls = controls;

  $("play").addEventListener("click", controls.play);
  $("loop").addEventListener("click", () => controls.loop());
  $("back").addEventListener("click", () => controls.step(-1));
  $("forth").addEventListener("click", () => controls.step(1));
  for (const button of document.querySelectorAll("[data-speed]"))
    button.addEventListener("click", () => controls.speed(Number(button.dataset.speed)));
  report.SPEEDS = SPEEDS;

  report.on("select", (one, { seek }) => {
    if (!seek) return;
    const again = Boolean(loop);
    if (again) controls.loop(true);
    else report.seek(report.recordings.get(one.source), one.apex);
  });
  report.seek(recording, report.data.expressions[0]?.source === recording.id ? report.data.expressions[0].onset : 0);
  state();
})();

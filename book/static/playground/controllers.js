/* The published rule on a course of the training accuracy, by src/sparsecycle/controllers.py itself: in the browser's
   Python, or as it was computed when the book was built. */
document.addEventListener("DOMContentLoaded", () => {
  for (const board of document.querySelectorAll('.playground[data-play="controllers"]')) start(board);

  function start(board) {
    const data = play.data(board);
    const [preset, curve, noise] = ["preset", "curve", "noise"].map((name) =>
      board.querySelector(`select[name=${name}]`),
    );
    const knobs = Object.fromEntries([...board.querySelectorAll(".play-knobs input")].map((knob) => [knob.name, knob]));
    const drawing = board.querySelector(".play-drawing");
    const keep = board.querySelector(".play-keep");
    const decision = board.querySelector("input[name=decision]");
    const [seenDecision, told] = [board.querySelector(".play-decision"), board.querySelector(".play-told")];
    const parts = Object.values(data.curves)[0].length;
    const epochsEach = data.epochs / parts;
    let python = null; // once it is there
    let missing = null; // or why it is not
    let own = null; // the accuracies that the reader drew
    let title = null; // of the curve picked last
    let cursor = 0; // the part of the curve that the arrow keys change
    let seen = null; // what is shown
    let ghost = null; // what was shown before the reader began to change something
    let chart = null;
    let waiting = 0; // the frame in which the rule runs next

    /* Everything as it is at first. */
    function begin() {
      title = Object.keys(data.curves)[0];
      own = null;
      preset.value = Object.keys(data.presets)[0];
      curve.value = title;
      noise.value = "1";
      toPreset();
    }
    const accuracies = () => own ?? data.curves[title];
    const value = (name) => data.knobs[name][knobs[name].value];
    const short = (number) => String(Number(number.toPrecision(3)));
    const epoch = (step) => (step * epochsEach) / data.steps_each;

    function toPreset() {
      for (const [name, given] of Object.entries(data.presets[preset.value])) {
        knobs[name].value = data.knobs[name].indexOf(given);
      }
    }

    /* What the rule does, or the mistake in words; null as long as Python is not there. */
    function asked() {
      if (python) {
        const { gives_way, ...parameters } = Object.fromEntries(Object.keys(knobs).map((name) => [name, value(name)]));
        const question = { parameters, accuracies: accuracies(), steps_each: data.steps_each, gives_way };
        return JSON.parse(python(JSON.stringify({ ...question, noise: noise.value === "1" })));
      }
      if (!own && preset.value && noise.value) return data.computed[`${preset.value}|${title}`];
      return missing ? { error: `For this a Python in the page is needed, but ${missing}.` } : null;
    }

    function update() {
      for (const [name, knob] of Object.entries(knobs)) {
        knob.nextElementSibling.value = short(value(name));
        knob.setAttribute("aria-valuetext", short(value(name)));
      }
      const answer = asked();
      seen = answer === null || answer.error ? null : answer;
      if (answer === null) told.textContent = "Python is being loaded into the page ...";
      else told.textContent = answer.error ?? summary();
      decision.disabled = !seen?.steps.length;
      if (!decision.disabled) decision.max = seen.steps.length;
      draw();
    }

    /* At most once a frame: the rule takes some tenths of a second for a long run. */
    function soon() {
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(update);
    }

    function summary() {
      if (!seen.steps.length) return "The run ends before the first decision.";
      const resets = seen.resets.map((reset, number) => (reset ? before(number) : 1)).filter((found) => found < 1);
      const idle = resets.filter((found) => found >= 0.57).length;
      return (
        `${seen.steps.length} decisions in ${data.epochs} epochs, ${resets.length} of them resets of a keep-ratio below ` +
        `1, and ${idle} of these idle: it was 0.57 or more, where the constraint removes almost nothing. ` +
        `Smallest keep-ratio ${short(Math.min(...seen.keep_ratios))}. ` +
        (python ? "Run in this page by the library's own controllers.py." : "Computed when the book was built.")
      );
    }

    const before = (number) => (number ? seen.keep_ratios[number - 1] : 1); // the keep-ratio that a decision found

    /* One decision in words. */
    function words(number) {
      const drop = seen.bests[number] - seen.averages[number];
      const left = number ? seen.cooldowns[number - 1] : 0;
      const found = before(number);
      const now = seen.keep_ratios[number];
      let done = `compress from ${short(found)} to ${short(now)}`;
      const rise = found < now ? `raise the keep-ratio from ${short(found)} to ${short(now)}` : `the keep-ratio stays at ${short(now)}`;
      if (seen.resets[number]) done = `reset, ${rise}, cooldown ${seen.cooldowns[number]}`;
      else if (left > 0) done = `cooldown, ${left - 1} left after this one: the keep-ratio stays at ${short(now)}`;
      else if (now === found) done = `the floor is reached: the keep-ratio stays at ${short(now)}`;
      return (
        `Decision ${number + 1}, after epoch ${epoch(seen.steps[number]).toFixed(1)}: the average is ` +
        `${seen.averages[number].toFixed(3)}, its best ${seen.bests[number].toFixed(3)}, the drop ${drop.toFixed(3)}, ` +
        `${drop > value("tolerance") ? "more" : "not more"} than the tolerance of ${short(value("tolerance"))}. So: ${done}.`
      );
    }

    /* A path of keep-ratios as the corners of its stair. */
    function stairs(run, low) {
      const corners = run.steps.flatMap((step, one) => [
        [epoch(step), Math.max(one ? run.keep_ratios[one - 1] : 1, low)],
        [epoch(step), Math.max(run.keep_ratios[one], low)],
      ]);
      return [[0, 1], ...corners, [data.epochs, Math.max(run.keep_ratios.at(-1), low)]];
    }

    function draw() {
      const x = { from: 0, to: data.epochs, ticks: play.ticks(0, data.epochs, 5) };
      chart = play.chart(drawing, 220, x, { from: 0, to: 1.12, ticks: [0, 0.25, 0.5, 0.75, 1] });
      const steps = accuracies().flatMap((accuracy, part) => [
        [part * epochsEach, accuracy],
        [(part + 1) * epochsEach, accuracy],
      ]);
      chart.line(steps, { stroke: "currentColor", opacity: 0.45, "stroke-width": 1.5 });
      const number = Math.min(Number(decision.value), seen?.steps.length ?? 0) - 1;
      if (seen?.steps.length) {
        const at = seen.steps.map(epoch);
        chart.line(at.map((place, one) => [place, seen.averages[one]]), { stroke: data.colour, "stroke-width": 1.2 });
        chart.line(at.map((place, one) => [place, seen.bests[one]]), { stroke: "currentColor", "stroke-dasharray": "6 4", "stroke-width": 1.5 });
        const least = at.map((place, one) => [place, Math.max(0, seen.bests[one] - value("tolerance"))]);
        chart.line(least, { stroke: "currentColor", "stroke-dasharray": "2 3", "stroke-width": 1.5 });
        chart.dot([at[number], seen.averages[number]], { r: 5, fill: data.colour });
        const names = [
          ["best", seen.bests.at(-1), -6],
          ["best less tolerance", least.at(-1)[1], 15],
        ];
        for (const [text, height, away] of names) {
          chart.write(text, { x: chart.across(data.epochs) - 4, y: Math.max(chart.up(height) + away, 12), "text-anchor": "end" });
        }
      }
      if (document.activeElement === drawing) {
        chart.dot([(cursor + 0.5) * epochsEach, accuracies()[cursor]], { r: 6, fill: "none", stroke: "currentColor", "stroke-width": 2 });
      }
      drawing.setAttribute("aria-valuemin", 0);
      drawing.setAttribute("aria-valuemax", 1);
      drawing.setAttribute("aria-valuenow", accuracies()[cursor].toFixed(2));
      const span = `epochs ${cursor * epochsEach} to ${(cursor + 1) * epochsEach}`;
      drawing.setAttribute("aria-valuetext", `${span}: ${accuracies()[cursor].toFixed(2)}`);

      keep.replaceChildren();
      keep.setAttribute("aria-label", seen ? `keep-ratio by epoch: ${summary()}` : "no keep-ratios yet");
      seenDecision.textContent = seen?.steps.length ? words(number) : "";
      if (!seen?.steps.length) return;
      decision.setAttribute("aria-valuetext", words(number));
      const low = Math.max(Math.min(0.1, ...seen.keep_ratios, ...(ghost?.keep_ratios ?? [])), 1e-3);
      const marks = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001].filter((mark) => mark >= low * 0.99);
      const below = play.chart(keep, 190, x, { from: low * 0.9, to: 1.3, log: true, ticks: marks });
      if (ghost?.steps.length) below.line(stairs(ghost, low), { stroke: "currentColor", opacity: 0.35, "stroke-width": 1.5 });
      below.line(stairs(seen, low), { stroke: data.colour });
      seen.steps.forEach((step, one) => {
        const end = seen.steps[one + 1] ?? step;
        if (seen.cooldowns[one]) below.line([[epoch(step), 1.15], [epoch(end), 1.15]], { stroke: "currentColor", "stroke-width": 5, opacity: 0.3 });
        if (seen.resets[one]) below.write("▾", { x: below.across(epoch(step)), y: below.up(1.12), "text-anchor": "middle" });
      });
      below.dot([epoch(seen.steps[number]), Math.max(seen.keep_ratios[number], low)], { r: 5, fill: data.colour });
    }

    /* Python is brought when somebody begins to play: it is large. */
    async function wake() {
      board.removeEventListener("pointerdown", wake);
      board.removeEventListener("focusin", wake);
      try {
        const made = await play.python(data.sources);
        python = made.pyimport("sparsecycle_book.simulation").simulate_json;
        board.dataset.python = made.version;
      } catch (error) {
        missing = error.message;
        for (const knob of Object.values(knobs)) knob.disabled = true;
        if (!preset.value) preset.value = Object.keys(data.presets)[0];
        toPreset();
      }
      update();
    }

    board.addEventListener("pointerdown", wake);
    board.addEventListener("focusin", wake);
    const remember = () => { ghost = seen; };
    preset.addEventListener("change", () => { remember(); if (preset.value) toPreset(); update(); });
    noise.addEventListener("change", () => { remember(); update(); });
    curve.addEventListener("change", () => {
      remember();
      title = curve.value || title;
      own = curve.value ? null : [...accuracies()];
      update();
    });
    for (const knob of Object.values(knobs)) {
      knob.addEventListener("pointerdown", remember);
      knob.addEventListener("keydown", remember);
      knob.addEventListener("input", () => { preset.value = ""; soon(); });
    }
    decision.addEventListener("input", draw);
    board.querySelector("button.play-again").addEventListener("click", () => {
      begin();
      ghost = null;
      update();
    });

    function change(part, accuracy) {
      own ??= [...accuracies()];
      own[part] = accuracy;
      cursor = part;
      curve.value = "";
    }

    let last = null; // where the pointer was
    drawing.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      last = null;
      remember();
      drawing.setPointerCapture(event.pointerId);
      trace(event);
    });
    drawing.addEventListener("pointermove", (event) => { if (drawing.hasPointerCapture(event.pointerId)) trace(event); });
    function trace(event) {
      const [place, height] = chart.at(event);
      const accuracy = Math.min(height, 1); // above it there is room for a word
      const part = Math.min(Math.floor(place / epochsEach), parts - 1);
      const [from, then] = last ?? [part, accuracy];
      const steps = Math.abs(part - from);
      for (let step = 0; step <= steps; step += 1) {
        const share = steps ? step / steps : 1;
        change(from + Math.sign(part - from) * step, then + share * (accuracy - then));
      }
      last = [part, accuracy];
      soon();
    }
    drawing.addEventListener("keydown", (event) => {
      const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const upwards = { ArrowDown: -0.05, ArrowUp: 0.05 }[event.key];
      if (sideways) cursor = Math.min(Math.max(cursor + sideways, 0), parts - 1);
      else if (upwards) remember(), change(cursor, Math.min(Math.max(accuracies()[cursor] + upwards, 0), 1));
      else return;
      event.preventDefault();
      update();
    });
    drawing.addEventListener("focus", draw);
    drawing.addEventListener("blur", draw);

    begin();
    update();
    play.onWidth(board, draw);
  }
});

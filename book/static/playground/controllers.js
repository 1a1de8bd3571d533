/* The controllers on a loss curve, by src/sparsecycle/controllers.py itself: in the browser's Python, or computed. */
document.addEventListener("DOMContentLoaded", () => {
  for (const board of document.querySelectorAll('.playground[data-play="controllers"]')) start(board);

  function start(board) {
    const data = play.data(board);
    const [method, curve] = ["method", "curve"].map((name) => board.querySelector(`select[name=${name}]`));
    const knobs = Object.fromEntries([...board.querySelectorAll(".play-knobs input")].map((knob) => [knob.name, knob]));
    const lossPanel = board.querySelector(".play-losses");
    const budgetPanel = board.querySelector(".play-budgets");
    const told = board.querySelector(".play-told");
    const periods = Object.values(data.curves)[0].length;
    const top = 1.1 * Math.max(...Object.values(data.curves).flat());
    let python = null; // once it is there
    let missing = null; // or why it is not
    let own = null; // the losses that the reader drew
    let title = Object.keys(data.curves)[0]; // of the curve picked last
    let cursor = 0; // the period that the arrow keys change
    let seen = null; // what is shown
    let chart = null;

    curve.value = title;
    method.value = Object.keys(data.start)[0];
    const losses = () => own ?? data.curves[title];
    const value = (name) => data.knobs[name][knobs[name].value];
    const set = (name, given) => { knobs[name].value = data.knobs[name].indexOf(given); };
    const moved = () => Object.keys(data.start[method.value])
      .filter((name) => value(name) !== data.start[method.value][name]);

    function toStart(but) {
      for (const [name, given] of Object.entries(data.start[method.value])) if (name !== but) set(name, given);
    }

    /* What the controller does: budgets and losses, or the mistake in words. */
    function asked() {
      const { cost, ...parameters } = Object.fromEntries(
        Object.keys(data.start[method.value]).map((name) => [name, value(name)]),
      );
      if (python) {
        return JSON.parse(python(JSON.stringify({ method: method.value, parameters, losses: losses(), cost })));
      }
      const [name = "cost", ...more] = moved(); // one alone was computed
      if (own || more.length) return missing ? { error: `for this a Python in the page is needed, but ${missing}` } : null;
      const budgets = data.computed[[method.value, title, name, knobs[name].value].join("|")];
      const added = (loss, period) => (loss === null ? null : loss + cost * (1 - budgets[period]));
      return { budgets, losses: losses().map(added) };
    }

    function update() {
      for (const [name, knob] of Object.entries(knobs)) {
        const used = name in data.start[method.value];
        knob.parentElement.hidden = !used;
        knob.nextElementSibling.value = used ? value(name) : "";
        if (used) knob.setAttribute("aria-valuetext", value(name));
      }
      const answer = asked();
      seen = answer?.error ? null : answer;
      if (answer === null) told.textContent = "Python is being loaded into the page ...";
      else told.textContent = answer.error ?? summary(answer.budgets);
      draw();
    }

    function summary(budgets) {
      const resets = budgets.filter((budget, period) => period && budget > budgets[period - 1]).length;
      const mean = budgets.reduce((sum, budget) => sum + budget, 0) / budgets.length;
      return (
        `${method.value}: ${resets} times up again in ${budgets.length} periods, mean budget ${mean.toFixed(2)}, ` +
        `smallest ${Number(Math.min(...budgets).toPrecision(2))}. ` +
        (python ? "Run in this page by the library's own controllers.py." : "Computed when the book was built.")
      );
    }

    function draw() {
      const x = { from: 0, to: periods, ticks: play.ticks(0, periods, 6) };
      const highest = Math.max(top, ...losses(), ...(seen?.losses ?? []));
      const colour = data.colours[method.value];
      chart = play.chart(lossPanel, 190, x, { from: 0, to: highest, ticks: play.ticks(0, highest, 4) });
      // A period that diverged has no loss: the line breaks, and a cross stands for it.
      const line = (values, look) => {
        let part = [];
        values.forEach((loss, period) => {
          if (loss === null) chart.write("×", { x: chart.across(period + 0.5), y: chart.up(highest) + 12, "text-anchor": "middle" });
          else part.push([period + 0.5, loss]);
          if (loss === null || period === values.length - 1) {
            chart.line(part, look);
            part = [];
          }
        });
      };
      line(losses(), { stroke: "currentColor", opacity: 0.5, "stroke-width": 1.5 });
      if (seen) line(seen.losses, { stroke: colour });
      if (document.activeElement === lossPanel && losses()[cursor] !== null) {
        chart.dot([cursor + 0.5, losses()[cursor]], { r: 6, fill: "none", stroke: "currentColor", "stroke-width": 2 });
      }
      const shown = losses()[cursor];
      lossPanel.setAttribute("aria-valuemin", 0);
      lossPanel.setAttribute("aria-valuemax", top.toFixed(2));
      lossPanel.setAttribute("aria-valuenow", (shown ?? top).toFixed(2));
      lossPanel.setAttribute("aria-valuetext", `period ${cursor + 1}: ${shown === null ? "diverged" : `${shown.toFixed(2)} nats`}`);

      budgetPanel.replaceChildren();
      budgetPanel.setAttribute("aria-label", seen ? `budget by period: ${summary(seen.budgets)}` : "no budgets yet");
      if (!seen) return;
      const low = Math.min(0.1, ...seen.budgets);
      const marks = [1, 0.5, 0.2, 0.1, 0.05, 0.02].filter((budget) => budget >= low * 0.99);
      const below = play.chart(budgetPanel, 170, x, { from: low * 0.9, to: 1.05, log: true, ticks: marks });
      below.line(seen.budgets.flatMap((budget, period) => [[period, budget], [period + 1, budget]]), { stroke: colour });
    }

    /* Python is brought when somebody begins to play: it is large. */
    async function wake() {
      board.removeEventListener("pointerdown", wake);
      board.removeEventListener("focusin", wake);
      try {
        const all = await play.files("pyodide");
        const { loadPyodide } = await play.module(all, "pyodide.mjs");
        const { default: createPyodideModule } = await play.module(all, "pyodide.asm.mjs");
        // Its program is looked for beside the index; behind the # of an address anything may stand.
        const index = `${play.address(all["pyodide.asm.wasm"], "application/wasm")}#/`;
        const made = await loadPyodide({
          indexURL: index,
          createPyodideModule,
          stdLibURL: play.address(all["python_stdlib.zip"], "application/zip"),
          lockFileContents: play.text(all["pyodide-lock.json"]),
        });
        made.FS.mkdir("sparsecycle");
        made.FS.writeFile("sparsecycle/__init__.py", "");
        for (const [name, source] of Object.entries(data.sources)) made.FS.writeFile(`sparsecycle/${name}`, source);
        python = made.pyimport("sparsecycle.simulation").simulate_json;
        board.dataset.python = made.version;
      } catch (error) {
        missing = error.message;
      }
      update();
    }

    board.addEventListener("pointerdown", wake);
    board.addEventListener("focusin", wake);
    method.addEventListener("change", () => { toStart(); update(); });
    curve.addEventListener("change", () => {
      title = curve.value || title;
      own = curve.value ? null : [...losses()];
      update();
    });
    for (const [name, knob] of Object.entries(knobs)) {
      knob.addEventListener("input", () => {
        if (missing) toStart(name); // computed is one knob at a time
        update();
      });
    }

    function change(period, loss) {
      own ??= [...losses()];
      own[period] = loss;
      cursor = period;
      curve.value = "";
    }

    let last = null; // where the pointer was
    lossPanel.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      last = null;
      trace(event);
      lossPanel.setPointerCapture(event.pointerId);
    });
    lossPanel.addEventListener("pointermove", (event) => { if (event.buttons === 1) trace(event); });
    function trace(event) {
      const [place, up] = chart.at(event);
      const loss = Math.min(up, top); // the axis may reach higher, where a cost is added
      const period = Math.min(Math.floor(place), periods - 1);
      const [before, then] = last ?? [period, loss];
      const steps = Math.abs(period - before);
      for (let step = 0; step <= steps; step += 1) {
        const share = steps ? step / steps : 1;
        change(before + Math.sign(period - before) * step, then + share * (loss - then));
      }
      last = [period, loss];
      update();
    }
    lossPanel.addEventListener("keydown", (event) => {
      const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const upwards = { ArrowDown: -0.1, ArrowUp: 0.1 }[event.key];
      if (sideways) cursor = Math.min(Math.max(cursor + sideways, 0), periods - 1);
      else if (upwards) change(cursor, Math.min(Math.max((losses()[cursor] ?? top) + upwards, 0), top));
      else return;
      event.preventDefault();
      update();
    });
    lossPanel.addEventListener("focus", draw);
    lossPanel.addEventListener("blur", draw);

    toStart();
    update();
    play.onWidth(board, draw);
  }
});

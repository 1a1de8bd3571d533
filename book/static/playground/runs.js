/* Somebody's run among the recorded ones: reads record.json, epochs.parquet, or both in one run.json. */
document.addEventListener("DOMContentLoaded", () => {
  for (const board of document.querySelectorAll('.playground[data-play="runs"]')) start(board);

  function start(board) {
    const data = play.data(board);
    const told = board.querySelector(".play-told");
    const panels = board.querySelector(".play-panels");
    const input = board.querySelector("input");
    let shown = null; // the run, once its record is there
    let epochs = null;

    told.textContent = `Nothing leaves this page. Recorded here: ${Object.keys(data.presets).join(", ")}.`;
    input.addEventListener("change", () => take(input.files));
    board.addEventListener("dragover", (event) => { event.preventDefault(); board.classList.add("play-over"); });
    board.addEventListener("dragleave", () => board.classList.remove("play-over"));
    board.addEventListener("drop", (event) => {
      event.preventDefault();
      board.classList.remove("play-over");
      take(event.dataTransfer.files);
    });
    play.onWidth(board, draw);

    async function take(files) {
      [shown, epochs] = [null, null];
      try {
        for (const file of files) await read(file);
        if (!shown) throw new Error("A record.json is needed too, or a run.json of `sparsecycle export`.");
        if (shown.metrics.test_accuracy == null) {
          throw new Error(`This run (${shown.config.method}, seed ${shown.config.seed}) diverged: it has no accuracy to compare.`);
        }
      } catch (error) {
        shown = null;
        told.textContent = error.message;
        panels.replaceChildren();
        return;
      }
      told.textContent = summary();
      draw();
    }

    async function read(file) {
      if (file.name.endsWith(".parquet")) {
        epochs = await parquet(file);
        return;
      }
      let content;
      try {
        content = JSON.parse(await file.text());
      } catch {
        throw new Error(`${file.name} is no JSON: drop the record.json of a run, its epochs.parquet, or a run.json.`);
      }
      const record = content?.record ?? content;
      if (record?.metrics === undefined || !record.config?.preset || !Array.isArray(record.budgets)) {
        throw new Error(`${file.name} is no record of a run of sparsecycle run: those have a config, metrics and budgets.`);
      }
      shown = record;
      if (Array.isArray(content.epochs)) epochs = content.epochs;
    }

    async function parquet(file) {
      const all = await play.files("hyparquet").catch((error) => {
        throw new Error(`${file.name} cannot be read, because ${error.message}: sparsecycle export writes JSON instead.`);
      });
      const { parquetReadObjects } = await play.module(all, "index.js");
      try {
        return await parquetReadObjects({ file: await file.arrayBuffer(), columns: ["epoch", "test_accuracy"] });
      } catch {
        throw new Error(`${file.name} cannot be read as parquet with the columns epoch and test_accuracy.`);
      }
    }

    const percent = (value) => `${(100 * value).toFixed(1)} %`;
    const whole = (value) => `${Number((100 * value).toFixed(1))} %`;

    function summary() {
      const { preset, method, seed } = shown.config;
      const accuracy = shown.metrics.test_accuracy;
      const name = `${method}, seed ${seed}, preset ${preset}`;
      const judged = shown.evaluated_on === "test" ? "test" : "held-out";
      const start = `Yours (${name}): ${judged} accuracy ${percent(accuracy)}`;
      const ours = data.presets[preset];
      if (!ours) return `${start}. No run of this preset is recorded here; recorded are: ${Object.keys(data.presets).join(", ")}.`;
      const places = Object.entries(ours).map(([other, { accuracies }]) =>
        `${accuracies.filter((one) => one < accuracy).length} of our ${accuracies.length} of ${other}`);
      const settings = Object.keys(shown.overrides ?? {});
      return (
        `${start}: above ${places.join(", ")}.` +
        (settings.length ? ` Yours has other settings (${settings.join(", ")}), ours have not.` : "") +
        (judged === "test" ? "" : " Ours were judged on the test images.")
      );
    }

    function draw() {
      panels.replaceChildren();
      const ours = shown && data.presets[shown.config.preset];
      if (!ours) return;
      final(panel("Accuracy at the end: each seed of ours, and yours"), ours);
      const yours = (epochs ?? []).map((row) => [Number(row.epoch), row.test_accuracy])
        .filter(([, value]) => typeof value === "number" && Number.isFinite(value));
      if (yours.length) {
        curves(panel("Accuracy by epoch: means of ours, and yours"), ours, "epochs", yours, "epoch");
      }
      const budgets = shown.budgets.map((one) => [one.keep_ratio, one.accuracy]).sort(([a], [b]) => a - b);
      curves(panel("Accuracy by budget: means of ours, and yours"), ours, "budgets", budgets, "budget");
    }

    function panel(title) {
      const place = document.createElement("div");
      place.className = "play-panel";
      const heading = document.createElement("span");
      heading.textContent = title;
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", `${title}. ${summary()}`);
      place.append(heading, svg);
      panels.append(place);
      return svg;
    }

    const yours = { stroke: "currentColor", "stroke-width": 3 };

    function final(svg, ours) {
      const all = [...Object.values(ours).flatMap(({ accuracies }) => accuracies), shown.metrics.test_accuracy];
      const [low, high] = [Math.min(...all), Math.max(...all)];
      const room = Math.max(0.1 * (high - low), 0.005);
      const names = Object.keys(ours);
      const x = { from: low - room, to: high + room, ticks: play.ticks(low - room, high + room, 5), show: whole };
      const chart = play.chart(svg, 26 * names.length + 40, x, { from: 0, to: names.length, ticks: [] }, 86);
      chart.line([[shown.metrics.test_accuracy, 0], [shown.metrics.test_accuracy, names.length]], yours);
      names.forEach((name, row) => {
        const height = names.length - row - 0.5;
        chart.write(name, { x: 4, y: chart.up(height) + 4, fill: data.colours[name] });
        for (const value of ours[name].accuracies) {
          chart.dot([value, height], { fill: data.colours[name], "fill-opacity": 0.75 });
        }
      });
    }

    function curves(svg, ours, kind, own, of) {
      const lines = Object.entries(ours).map(([name, held]) => [name, held[kind]]);
      const points = [...lines.flatMap(([, line]) => line), ...own];
      const [xs, ys] = [0, 1].map((part) => points.map((point) => point[part]));
      const high = Math.max(...ys);
      const x = { from: Math.min(...xs), to: Math.max(...xs), log: of === "budget" };
      x.ticks = x.log ? [1, 0.5, 0.2, 0.1, 0.05, 0.02].filter((tick) => tick >= x.from) : play.ticks(x.from, x.to, 6);
      const chart = play.chart(svg, 220, x, { from: 0, to: 1.05 * high, ticks: play.ticks(0, high, 4), show: whole });
      for (const [name, line] of lines) chart.line(line, { stroke: data.colours[name], opacity: 0.8 });
      chart.line(own, yours);
    }
  }
});

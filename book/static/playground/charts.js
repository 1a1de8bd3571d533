/* Small charts as SVG, in the colours of the page. */
(() => {
  const space = "http://www.w3.org/2000/svg";

  function element(name, attributes = {}, text = "") {
    const made = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  }

  /* Empty a drawing and give it axes. x and y: {from, to, ticks, log, show}; returns what draws into it. */
  play.chart = (svg, height, x, y, left = 44) => {
    const margin = { left, right: 16, top: 8, bottom: 26 };
    const width = Math.max(svg.clientWidth || svg.parentElement.clientWidth, 200);
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    const scale = (axis, low, high) => {
      const on = axis.log ? Math.log : (value) => value;
      const share = (value) => (on(value) - on(axis.from)) / (on(axis.to) - on(axis.from));
      return (value) => low + share(value) * (high - low);
    };
    const across = scale(x, margin.left, width - margin.right);
    const up = scale(y, height - margin.bottom, margin.top);
    const add = (name, attributes, text) => svg.appendChild(element(name, attributes, text));
    const write = (text, attributes) => add("text", { fill: "currentColor", "font-size": 12, ...attributes }, text);
    for (const tick of x.ticks) {
      write(x.show?.(tick) ?? tick, { x: across(tick), y: height - 9, "text-anchor": "middle" });
      add("line", { x1: across(tick), x2: across(tick), y1: up(y.from), y2: up(y.from) + 4, class: "play-axis" });
    }
    for (const tick of y.ticks) {
      write(y.show?.(tick) ?? tick, { x: margin.left - 7, y: up(tick) + 4, "text-anchor": "end" });
      add("line", { x1: margin.left, x2: width - margin.right, y1: up(tick), y2: up(tick), class: "play-grid" });
    }
    const line = (points, attributes) =>
      add("polyline", {
        points: points.map(([a, b]) => `${across(a).toFixed(1)},${up(b).toFixed(1)}`).join(" "),
        fill: "none",
        "stroke-width": 2,
        ...attributes,
      });
    const dot = ([a, b], attributes) => add("circle", { cx: across(a), cy: up(b), r: 4, ...attributes });
    /* What a place on the drawing stands for; linear axes only. */
    const at = (event) => {
      const box = svg.getBoundingClientRect();
      const within = (value, axis) => Math.min(Math.max(value, axis.from), axis.to);
      const part = ((event.clientX - box.left) * (width / box.width) - margin.left) / (width - margin.left - margin.right);
      const rise =
        (height - margin.bottom - (event.clientY - box.top) * (height / box.height)) /
        (height - margin.top - margin.bottom);
      return [within(x.from + part * (x.to - x.from), x), within(y.from + rise * (y.to - y.from), y)];
    };
    return { line, dot, write, add, across, up, at };
  };

  /* About `count` round values between two. */
  play.ticks = (from, to, count) => {
    const raw = (to - from) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
    const first = Math.ceil(from / step - 1e-9);
    return Array.from({ length: Math.floor(to / step + 1e-9) - first + 1 }, (_, number) =>
      Number(((first + number) * step).toPrecision(6)),
    );
  };

  /* The data of a board, from Python. */
  play.data = (board) => JSON.parse(board.querySelector("script.play-data").textContent);

  /* Draw now, and when the board gets another width. */
  play.onWidth = (board, draw) => {
    let width = 0;
    new ResizeObserver(() => {
      if (board.clientWidth !== width) draw();
      width = board.clientWidth;
    }).observe(board);
  };
})();

/* A filter above each list of runs: rows that do not hold all of its words are hidden. */
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.dataframe:has(tbody th span[id])")) {
    const rows = [...table.tBodies[0].rows];
    const label = document.createElement("label");
    const input = document.createElement("input");
    const told = document.createElement("output");
    label.className = "run-filter";
    input.type = "search";
    input.placeholder = "accuracy_gated seed3";
    label.append("Show runs with ", input, " ", told);
    table.before(label);
    const update = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      told.textContent = `${shown} of ${rows.length}`;
    };
    input.addEventListener("input", update);
    input.value = new URLSearchParams(location.search).get("show") ?? ""; // from a figure that is drawn from some
    update();
  }
});

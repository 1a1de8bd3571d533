/* The exercises of a lesson: what a reader writes is judged by src/sparsecycle_book/course/checks.py itself, in the
   browser's Python. What was written stays in this browser. */
document.addEventListener("DOMContentLoaded", () => {
  const sources = document.getElementById("exercise-sources");
  let python = null; // a promise, once somebody has begun

  async function judge() {
    const made = await play.python(JSON.parse(sources.textContent));
    return made.pyimport("sparsecycle_book.course.checks").judge_json;
  }

  for (const box of document.querySelectorAll(".exercise")) start(box);

  function start(box) {
    const [writing, told] = [box.querySelector("textarea"), box.querySelector(".exercise-told")];
    const [solution, solved] = [box.querySelector(".exercise-solution"), box.querySelector(".exercise-solved")];
    const [hint, hints] = [box.querySelector(".exercise-hint"), box.querySelector(".exercise-hints")];
    const asked = JSON.parse(box.querySelector(".exercise-asked").textContent);
    const name = `${location.pathname.split("/").pop()} ${box.dataset.exercise}`;
    const stub = writing.value;

    /* Hints stand folded in the text, for readers without scripts; here a button shows one after the other. */
    const found = hintsBefore(box);
    const told_of_hints = () => {
      const left = found.filter((one) => one.hidden).length;
      hint.textContent = left ? `Hint ${found.length - left + 1} of ${found.length}` : "No more hints";
      hint.disabled = !left;
    };
    for (const one of found) {
      one.hidden = true;
      hints.append(one);
    }
    told_of_hints();
    hint.addEventListener("click", () => {
      const next = found.find((one) => one.hidden);
      next.hidden = false;
      next.open = true;
      told_of_hints();
    });

    keep(() => { writing.value = localStorage.getItem(name) ?? stub; });
    const fit = () => { writing.rows = Math.max(3, writing.value.split("\n").length + 1); };
    writing.addEventListener("input", () => { fit(); keep(() => localStorage.setItem(name, writing.value)); });
    writing.addEventListener("focus", () => { python ??= judge(); python.catch(() => {}); }, { once: true });
    writing.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return check();
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      const line = writing.value.slice(0, writing.selectionStart).split("\n").pop();
      const deeper = line.trimEnd().endsWith(":") ? "    " : "";
      writing.setRangeText(`\n${line.match(/^ */)[0]}${deeper}`, writing.selectionStart, writing.selectionEnd, "end");
      writing.dispatchEvent(new Event("input"));
    });
    box.querySelector(".exercise-check").addEventListener("click", check);
    box.querySelector(".exercise-again").addEventListener("click", () => {
      writing.value = stub;
      keep(() => localStorage.removeItem(name));
      told.replaceChildren();
      fit();
    });
    solution.addEventListener("click", () => {
      solved.hidden = !solved.hidden;
      solution.setAttribute("aria-expanded", String(!solved.hidden));
    });
    fit();

    async function check() {
      say(["Python is being loaded into the page ..."]);
      try {
        python ??= judge();
        const asker = await python;
        say(["Checking ..."]);
        await new Promise((shown) => setTimeout(shown));
        say(JSON.parse(asker(JSON.stringify({ source: writing.value, asked }))));
        box.dataset.checked = "";
      } catch (error) {
        say([`To check an answer, a Python in the page is needed, but ${error.message}. The hints and the solution are here.`]);
      }
    }

    function say(lines) {
      told.replaceChildren(...lines.map((line) => {
        const shown = document.createElement("p");
        shown.textContent = line;
        if (line.endsWith("Right.")) shown.className = "exercise-right";
        return shown;
      }));
    }
  }

  /* The hints between the exercise before and this one. */
  function hintsBefore(box) {
    const all = [...document.querySelectorAll("details.hint, .exercise")];
    const found = [];
    for (let place = all.indexOf(box) - 1; place >= 0 && all[place].matches("details"); place -= 1) found.unshift(all[place]);
    return found.filter((one) => !one.closest(".exercise"));
  }

  /* Some browsers keep nothing for pages from disk. */
  function keep(change) {
    try { change(); } catch { /* then it is gone with the page */ }
  }
});

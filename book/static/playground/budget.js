/* Moves the budget over the views that src/sparsecycle_book/playground/budget.py put on the page. */
document.addEventListener("DOMContentLoaded", () => {
  for (const board of document.querySelectorAll('.playground[data-play="budget"]')) {
    const slider = board.querySelector("input");
    const shown = board.querySelector("output");
    const views = board.querySelectorAll(".play-view");
    const budgets = slider.dataset.budgets.split(" ");
    slider.addEventListener("input", () => {
      views.forEach((view, number) => { view.hidden = number !== Number(slider.value); });
      shown.value = budgets[slider.value];
      slider.setAttribute("aria-valuetext", budgets[slider.value]);
    });
    slider.value = 0; // browsers remember the place of a slider, but not what was shown
  }
});

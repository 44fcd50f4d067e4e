/** The Data tab: how many images are selected, and the keys that review them. */

const form = document.querySelector("[data-review]")
const bar = form?.querySelector("[data-selection]")

function count() {
  const n = form.querySelectorAll("[name=images]:checked").length
  bar.hidden = n === 0
  bar.querySelector("[data-count]").textContent = n
}

if (bar) {
  form.addEventListener("change", count)
  count()
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || bar.hidden) return
    if (event.target.closest("input:not([type=checkbox]), textarea, select")) return
    bar.querySelector(`[data-key="${event.key.toLowerCase()}"]`)?.click()
  })
}

/* Labels that the model doubts: the most doubtful opens by itself, K keeps it, M takes the model's. */
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), textarea, select")) return
  document.querySelector(`#image-panel [data-press="${CSS.escape(event.key.toLowerCase())}"]`)?.click()
})
if (new URLSearchParams(location.search).get("view") === "likely-wrong") {
  document.addEventListener("htmx:load", () => document.querySelector(".thumb .shot")?.click(), { once: true })
}

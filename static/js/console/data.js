/**
 * The Data tab: choose images by mouse, touch or keys, review them, undo it, and see what is new (SPEC V1, V2).
 */

const LOOK_EVERY = 5000 // milliseconds
const ASK_ABOVE = 50 // images; up to so many are reviewed at once, with Undo
const SAID_FOR = 8000 // milliseconds
const KEYS = { e: "approve", x: "reject", r: "return", t: "remove" }
const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }

const images = document.getElementById("images")
const bar = document.querySelector("[data-selection]")
const panel = document.getElementById("image-panel")
const fresh = document.getElementById("fresh")
const said = document.getElementById("said")
const words = (name, values = {}) => {
  const text = document.getElementById("data-words").content.querySelector(`[data-m="${name}"]`)?.textContent ?? ""
  return Object.entries(values).reduce((all, [key, value]) => all.replaceAll(`{${key}}`, value), text)
}
const number = new Intl.NumberFormat(document.documentElement.lang || "en")

let isAll = false // everything that matches the filter, not only this page
let anchor = null // where a range begins
let isForced = false // the next answer is shown in any case

/* ---- the grid ---- */

const ticks = () => [...images.querySelectorAll("[name=images]")]
const ticked = () => ticks().filter((tick) => tick.checked)
const shots = () => [...images.querySelectorAll(".shot")]
const thumbOf = (element) => element?.closest?.(".thumb")
const total = () => Number(document.querySelector("#how-many [data-n]")?.dataset.n ?? 0)

function paint() {
  const chosen = ticked()
  if (isAll && chosen.length < ticks().length) isAll = false
  bar.hidden = chosen.length === 0
  bar.querySelector("[data-count]").textContent = number.format(isAll ? total() : chosen.length)
  const more = bar.querySelector("[data-all]")
  more.hidden = isAll || chosen.length < ticks().length || total() <= chosen.length
  more.querySelector("[data-total]").textContent = number.format(total())
  const states = new Set(chosen.map((tick) => thumbOf(tick).dataset.status))
  for (const button of bar.querySelectorAll("[data-fits]")) {
    const fits = button.dataset.fits.split(" ")
    button.hidden = ![...states].some((state) => fits.includes(state)) || (isAll && "correct" in button.dataset)
  }
}

function choose(tick, isOn, withRange) {
  const all = ticks()
  const from = withRange && anchor ? all.findIndex((other) => other.value === anchor) : -1
  const at = all.indexOf(tick)
  const [low, high] = from < 0 ? [at, at] : [Math.min(from, at), Math.max(from, at)]
  for (const other of all.slice(low, high + 1)) other.checked = isOn
  anchor = tick.value
  paint()
}

function chooseAll(isOn) {
  for (const tick of ticks()) tick.checked = isOn
  isAll = false
  paint()
}

function columns() {
  const all = shots()
  const top = all[0]?.getBoundingClientRect().top
  return Math.max(1, all.findIndex((shot) => shot.getBoundingClientRect().top > top + 2)) || all.length
}

function go(key, from) {
  const all = shots()
  const step = STEPS[key] ?? (key === "ArrowDown" ? columns() : -columns())
  const next = all[Math.min(all.length - 1, Math.max(0, all.indexOf(from) + step))]
  if (!next) return
  for (const shot of all) shot.tabIndex = shot === next ? 0 : -1
  next.focus()
}

/* ---- review ---- */

async function act(action) {
  const chosen = ticked()
  const inPanel = panel.querySelector(`[name=action][value="${action}"]`)
  if (!chosen.length) return inPanel?.click()
  const button = bar.querySelector(`[data-action="${action}"]`)
  if (button.hidden) return
  const n = isAll ? total() : chosen.length
  if ((isAll || n > ASK_ABOVE) && !(await sure(action, n))) return
  const values = { action, here: images.dataset.here }
  if (isAll) Object.assign(values, { all: 1, seen_at: images.dataset.seenAt })
  else values.images = chosen.map((tick) => tick.value)
  chooseAll(false)
  window.htmx.ajax("POST", bar.getAttribute("hx-post"), { source: bar, swap: "none", values })
}

function sure(action, n) {
  const dialog = document.getElementById("sure")
  dialog.querySelector("h2").textContent = words(action, { n: number.format(n) })
  dialog.querySelector("[data-about]").textContent = [words(`about.${action}`), isAll ? words("about.all") : ""].join(" ")
  const yes = dialog.querySelector("[data-yes]")
  yes.textContent = bar.querySelector(`[data-action="${action}"]`).firstChild.nextSibling.textContent
  yes.classList.toggle("danger", action === "reject")
  dialog.showModal()
  return new Promise((resolve) => {
    yes.onclick = () => dialog.close("yes")
    dialog.querySelector("[data-no]").onclick = () => dialog.close("")
    dialog.onclose = () => resolve(dialog.returnValue === "yes")
    dialog.returnValue = ""
  })
}

function correct() {
  const chosen = ticked().map((tick) => tick.value)
  const open = panel.querySelector("[data-correct-one]")
  if (!chosen.length) return open?.click()
  const { correct: url } = bar.querySelector("[data-correct]").dataset
  location.assign(`${url}?${new URLSearchParams({ images: chosen.join(","), here: images.dataset.here })}`)
}

function say({ text, bad, undo }) {
  clearTimeout(say.timer)
  const line = Object.assign(document.createElement("span"), { textContent: text })
  said.replaceChildren(line)
  said.classList.toggle("is-bad", Boolean(bad))
  if (undo) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "btn small", textContent: words("undo") })
    button.onclick = () => {
      said.hidden = true
      const values = { first: undo[0], last: undo[1] }
      window.htmx.ajax("POST", bar.getAttribute("hx-post").replace(/act\/$/, "undo/"), { source: bar, swap: "none", values })
    }
    said.append(button)
  }
  said.hidden = false
  const hide = () => {
    if (said.matches(":hover, :focus-within")) say.timer = setTimeout(hide, 1000)
    else said.hidden = true
  }
  say.timer = setTimeout(hide, SAID_FOR)
}

/* ---- what is new ---- */

function refresh(force) {
  isForced = force
  window.htmx.trigger(images, "refresh")
}

/** Nothing moves under somebody's hands: then a line says that there is more, and a press shows it. */
const isBusy = () => ticked().length > 0 || scrollY > 80 || panel.querySelector("#image") !== null

document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.elt === images && !isForced) detail.parameters.seen = images.dataset.digest
})
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.elt !== images || detail.xhr.status !== 200) return
  fresh.hidden = isForced || !isBusy()
  if (!fresh.hidden) detail.shouldSwap = false
  isForced = false
})
document.addEventListener("htmx:afterSettle", ({ target }) => {
  if (target === images) paint()
  if (target === panel) panel.scrollTop = 0
})
document.addEventListener("htmx:sendError", () => say({ text: words("failed"), bad: true }))
document.body.addEventListener("data-changed", () => refresh(true))
document.body.addEventListener("data-said", ({ detail }) => {
  say(detail)
  if (!detail.undo) refreshJob()
})
document.querySelector("[data-show-fresh]").addEventListener("click", () => refresh(true))
if (!new URLSearchParams(location.search).has("before")) {
  setInterval(() => { if (!document.hidden) refresh(false) }, LOOK_EVERY)
}

/** A worker may have begun: the address of the page has its line. */
function refreshJob() {
  const url = `${location.pathname}job/`
  window.htmx.ajax("GET", url, { target: "#review-job", swap: "innerHTML" })
}

/* ---- hands ---- */

document.addEventListener("change", ({ target }) => {
  if (target.matches("[name=images]")) paint()
  const filters = target.closest("[data-filters]")
  if (filters && target.matches("select")) filters.requestSubmit()
})

document.addEventListener("click", (event) => {
  const { target } = event
  const tick = target.closest?.(".tick")
  if (tick && event.shiftKey) {
    event.preventDefault()
    const input = tick.querySelector("input")
    return choose(input, !input.checked, true)
  }
  if (target.matches?.("[name=images]")) anchor = target.value
  const shot = target.closest?.(".shot")
  if (shot) {
    for (const other of shots()) other.tabIndex = other === shot ? 0 : -1
    for (const other of images.querySelectorAll(".is-open")) other.classList.remove("is-open")
    thumbOf(shot).classList.add("is-open")
  }
  const button = target.closest?.("button, a")
  if (!button) return
  if ("action" in button.dataset) act(button.dataset.action)
  else if ("correct" in button.dataset) correct()
  else if ("correctOne" in button.dataset) button.href += `&${new URLSearchParams({ here: images.dataset.here })}`
  else if ("all" in button.dataset) { isAll = true; paint() }
  else if ("none" in button.dataset) chooseAll(false)
  else if ("closePanel" in button.dataset) closePanel()
})

function closePanel() {
  const open = images.querySelector(".is-open")
  open?.classList.remove("is-open")
  panel.replaceChildren()
  open?.querySelector(".shot").focus()
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
  if (document.querySelector("dialog[open]")) return
  window.htmx.process(panel) // what was put in a moment ago answers keys too, rather than sending its form as a page
  const { target, key } = event
  if (target.closest?.("input:not([type=checkbox]), textarea, select, details")) return
  const shot = target.closest?.(".shot")
  const action = KEYS[key.toLowerCase()]
  const pressed = panel.querySelector(`[data-press="${CSS.escape(key.toLowerCase())}"]`)
  if (key.startsWith("Arrow") || (shot && key in STEPS)) {
    if (!shot && target !== document.body) return
    go(key, shot ?? shots().find((other) => other.tabIndex === 0))
  } else if (key === " " && shot) {
    const tick = thumbOf(shot).querySelector("[name=images]")
    choose(tick, !tick.checked, event.shiftKey)
  } else if (action) act(action)
  else if (key.toLowerCase() === "c") correct()
  else if (pressed) pressed.click() // what another app put into the panel, with a key of its own
  else if (key.toLowerCase() === "a") chooseAll(ticked().length < ticks().length)
  else if (key === "Escape" && ticked().length) chooseAll(false)
  else if (key === "Escape" && panel.querySelector("#image")) closePanel()
  else return
  event.preventDefault()
})
// A button is also pressed when Space is let go.
document.addEventListener("keyup", (event) => {
  if (event.key === " " && event.target.closest?.(".shot")) event.preventDefault()
})
document.addEventListener("click", ({ target }) => {
  for (const menu of document.querySelectorAll(".ls-drop-down[open]")) if (!menu.contains(target)) menu.open = false
})

paint()

/* Labels that the model doubts: the most doubtful opens by itself, K keeps it, M takes the model's. */
if (new URLSearchParams(location.search).get("view") === "likely-wrong") {
  document.addEventListener("htmx:load", () => document.querySelector(".thumb .shot")?.click(), { once: true })
}

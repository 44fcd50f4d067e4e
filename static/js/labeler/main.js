/**
 * The shell of the labeling page: mounts what htmx brings, and joins keys, buttons, answers and the server.
 */

import { createDrafts } from "labeler/answers"
import {
  announce, askClass, askLogin, askSkip, createDockMessage, createSay, hideToast, icon, openDialog, openedDialog, openKeys,
  tellLapsed, toast, wireDialogs,
} from "labeler/dialogs"
import { mountGrid } from "labeler/grid"
import { createHandover, createLease, preload, send, show } from "labeler/handover"
import { actionOf } from "labeler/hotkeys"
import { paintColor } from "labeler/sheet"

const LOOK_AGAIN = 30 // seconds
const LETTERS = "labelsite-letters"

const say = createSay()
let current = null // the page that is mounted
let arrival = "" // what to say when the next page has come

/* ---- what the browser remembers ---- */

function remembered(key) {
  try {
    return localStorage.getItem(key)
  } catch {
    return null
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value)
  } catch {
    // Then it is asked again.
  }
}

const hasLetters = () => remembered(LETTERS) !== "off"

/* ---- requests ---- */

const cookie = (name) => document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1)

// Logging in, here or in another tab, changes the token: the cookie has the present one.
document.addEventListener("htmx:configRequest", ({ detail }) => {
  const token = cookie("csrftoken")
  if (token) detail.headers["X-CSRFToken"] = token
})
document.addEventListener("submit", ({ target }) => {
  const field = target.querySelector("[name=csrfmiddlewaretoken]")
  if (field && cookie("csrftoken")) field.value = cookie("csrftoken")
})

/* ---- one page ---- */

async function mountPage(root) {
  const data = JSON.parse(root.querySelector("#page-data").textContent)
  const place = `${data.user.id}/${data.project.id}`
  const drafts = createDrafts(localStorageOrNone(), place)
  const dock = createDockMessage(root)
  const controller = new AbortController()
  const isFirst = !current
  const page = { root, data, drafts, destroy: () => controller.abort() }
  current = page
  root.addEventListener("mousedown", keepFocus, { signal: controller.signal })
  for (const element of root.querySelectorAll('[data-color^="#"]')) paintColor(element)
  markInstructions(place, data)
  markLayout(data)
  if (!data.page) return mountEmpty(page)

  const lease = createLease({ renew: () => renew(page) })
  for (const sign of ["keydown", "pointerdown", "pointermove", "wheel"]) {
    document.addEventListener(sign, lease.touch, { signal: controller.signal, passive: true })
  }
  const mount = data.project.task_type === "detection" ? (await import("labeler/boxwork")).mountBoxes : mountGrid
  if (controller.signal.aborted) return
  page.work = await mount(root, {
    data, drafts, say, announce, icon, hasLetters,
    openCloser: (id, options) => openCloser(page, id, options),
    onChange: () => paintDock(page),
    lastBoxes: JSON.parse(remembered(`labelsite-boxes/${place}`) ?? "[]"),
  })
  page.handover = createHandover({
    root, data, lease, drafts, say,
    work: page.work,
    dock: { ...dock, toast },
    onStored: (items) => stored(page, place, items),
    onLapsed: () => lapsed(page),
    logIn: () => askLogin(say, send, data.urls.login, data.urls.instructions),
    onArrival: (words) => { arrival = words },
  })
  page.destroy = () => {
    controller.abort()
    page.work.destroy()
    page.handover.destroy()
  }
  addEventListener("storage", (event) => fromOtherTab(page, event), { signal: controller.signal })
  document.addEventListener("visibilitychange", () => comeBack(page), { signal: controller.signal })
  paintDock(page)
  preloadAfter(root, data.next_previews)
  root.removeAttribute("aria-busy")
  greet(page, isFirst)
  openInstructionsFirst(place, data)
}

function localStorageOrNone() {
  try {
    return window.localStorage
  } catch {
    return null // reading and writing then fail, which drafts take as "nothing kept"
  }
}

/** A press of the mouse on a button leaves the focus in the stage, so that Enter still submits. */
function keepFocus(event) {
  if (event.target.closest("button") && !event.target.closest(".stage")) event.preventDefault()
}

function greet({ data, work }, isFirst) {
  const { page } = data
  const kind = say(`kind.${page.mode === "correct" ? "correct" : page.kind}`)
  const words = [arrival, isFirst ? "" : say("next", { n: page.items.length, kind })]
  if (isFirst && work.drafted) words.push(say("draft-back", { n: work.drafted }))
  if (words.some(Boolean)) announce(words.filter(Boolean).join(" "))
  arrival = ""
  if (!openedDialog()) work.focus()
}

function paintDock({ root, work }) {
  if (!work) return
  const { strong, parts, submit, isWarn } = work.status()
  const words = []
  if (strong) words.push(Object.assign(document.createElement("b"), { textContent: strong }))
  const rest = document.createElement("span")
  rest.className = isWarn ? "warntext" : strong ? "hide-s" : ""
  rest.textContent = `${strong ? " " : ""}${parts.join(" · ")}`
  root.querySelector("[data-status]").replaceChildren(...words, rest)
  root.querySelector("[data-submit]").textContent = submit
  root.querySelector("[data-act=submit]").setAttribute("aria-disabled", String(work.missing().length > 0))
}

/** First everything that shows now, then what will very likely come next. */
async function preloadAfter(root, urls) {
  await Promise.allSettled([...root.querySelectorAll(".tile > img")].map((image) => image.decode()))
  if (root.isConnected) preload(urls)
}

/* ---- nothing to label ---- */

function mountEmpty(page) {
  const { root, data } = page
  const text = root.querySelector("[data-next-look]")
  let left = LOOK_AGAIN
  const tick = async () => {
    left -= 1
    text.textContent = say("next-look", { n: Math.max(left, 0) })
    if (left > 0 || document.hidden) return
    left = LOOK_AGAIN
    text.textContent = say("looking")
    const reply = await send("GET", data.urls.label)
    // The same emptiness again leaves the page, and the focus in it, alone.
    if (reply.status === 200 && reply.text.includes('data-act="submit"') && current === page) await show(reply.text)
  }
  const timer = setInterval(tick, 1000)
  tick()
  page.destroy = () => clearInterval(timer)
  page.handover = createHandover({
    root, data, say, work: null, lease: null, drafts: page.drafts,
    dock: { toast }, onLapsed: () => {}, onArrival: (words) => { arrival = words },
    logIn: () => askLogin(say, send, data.urls.login, data.urls.instructions),
  })
  root.removeAttribute("aria-busy")
  announce([arrival, say("nothing-left")].filter(Boolean).join(" "))
  arrival = ""
  if (!openedDialog()) root.querySelector(".stage").focus()
}

/* ---- after the server's answers ---- */

function stored({ data, work }, place, items) {
  arrival = say("stored")
  hideToast()
  if (data.project.task_type === "detection" && items[0].boxes?.length) {
    remember(`labelsite-boxes/${place}`, JSON.stringify(items[0].boxes))
  }
  if (items.length > 1 || work.task === "grid" || data.review) return
  toast(say("last"), { strong: work.describe(), button: say("undo"), key: "Z", press: bringBack })
}

/** Bring the last image back, to correct it. */
function bringBack() {
  const { data, handover } = current
  hideToast()
  handover.go("GET", previousUrl(data), {}, { none: () => toast(say("no-earlier")) })
}

const previousUrl = ({ urls, page }) => (page ? `${urls.previous}?before=${page.id}` : urls.previous)

async function lapsed(page) {
  const { data, work } = page
  if (page.isLapsed) return
  page.isLapsed = true
  const lines = work.copyText()
  await tellLapsed(say, { n: lines.length, minutes: Math.round(data.lease_seconds / 60), text: lines.join("\n") })
  page.drafts.remove(data.page.items.map((item) => item.id))
  page.handover.go("GET", data.urls.label)
}

async function renew(page) {
  if (page.data.page.mode === "correct" || page.handover.isBusy()) return
  const reply = await send("POST", page.data.urls.renew)
  if (reply.status === 200) page.expires = JSON.parse(reply.text).lease_expires_at
  if (reply.code === "lapsed" && current === page && !page.handover.isBusy()) lapsed(page)
}

/** Back after a long time: find out at once whether the page is still mine. */
function comeBack(page) {
  const expires = Date.parse(page.expires ?? page.data.page.lease_expires_at)
  if (!document.hidden && Date.now() > expires) renew(page)
}

function fromOtherTab(page, event) {
  const id = page.drafts.idOf(event.key)
  if (id !== null && event.newValue) page.work.takeDraft?.(id)
  if (page.drafts.storedPage(event) !== page.data.page.id || page.handover.isBusy()) return
  page.handover.go("GET", page.data.urls.label)
  toast(say("stored-elsewhere"))
}

/* ---- instructions ---- */

const readKey = (place) => `labelsite-read/${place}`

function markInstructions(place, { project }) {
  const read = remembered(readKey(place))
  const isChanged = read !== null && read !== project.instructions_version
  for (const mark of document.querySelectorAll("[data-changed]")) mark.hidden = !isChanged
}

function openInstructionsFirst(place, { project }) {
  if (project.has_instructions && remembered(readKey(place)) === null) openInstructions()
}

async function openInstructions() {
  const { data } = current
  const drawer = document.getElementById("instructions")
  if (!drawer || openedDialog()) return
  const body = drawer.querySelector(".body")
  if (drawer.dataset.version !== data.project.instructions_version) {
    htmx.ajax("GET", data.urls.instructions, { target: body, swap: "innerHTML" })
    drawer.dataset.version = data.project.instructions_version
  }
  const closed = openDialog("instructions")
  body.focus()
  await closed
  const place = `${data.user.id}/${data.project.id}`
  remember(readKey(place), data.project.instructions_version)
  markInstructions(place, data)
  current.work?.refocus()
}

/* ---- looking closer ---- */

async function openCloser(page, id, options) {
  const { openCloser: open } = await import("labeler/closer")
  const { image } = page.data.page.items.find((item) => item.id === id)
  return open(page.root.querySelector(".stage"), image, options)
}

/** One image at a time is looked at in its tile. */
async function zoomTile(page, name) {
  const { createZoom } = await import("labeler/closer")
  const tile = page.root.querySelector(".tile")
  page.zoom ??= createZoom(tile, tile.querySelector("img"), page.data.page.items[0].image.full_url)
  page.zoom.act({ name })
}

/* ---- actions ---- */

function markLayout({ page }) {
  for (const button of document.querySelectorAll("#settings [data-layout]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.layout) === page?.layout))
    button.disabled = !page || page.mode === "correct"
  }
}

async function ask(dialog) {
  const answer = await dialog
  current.work?.refocus()
  return answer
}

function applyClass(id, isPress) {
  const { work, handover } = current
  const way = work.apply(id, isPress)
  if (work.isQuick && way === "on") handover.submit()
}

const actions = {
  submit: () => current.handover.submit(),
  async skip() {
    const page = current
    const answer = await ask(askSkip(say, page.work.skipCount()))
    if (!answer || page !== current) return
    page.work.skip(answer.reason, answer.note)
    if (page.work.task !== "grid") page.handover.submit()
  },
  previous: () => current.data.review || current.handover.go("GET", previousUrl(current.data), {}, { none: () => toast(say("no-earlier")) }),
  forward: () => current.handover.go("GET", current.data.urls.label),
  instructions: openInstructions,
  async keys() { await ask(openKeys(current.work?.task ?? "grid")) },
  async find() {
    const page = current
    const id = await ask(askClass(page.data.classes))
    if (id !== null && page === current) applyClass(id, false)
  },
  class({ digit }) {
    const label = current.data.classes.find(({ key }) => key === String(digit))
    if (label) applyClass(label.id, false)
    else announce(say("no-key", { n: digit }))
  },
  undo() {
    if (current.work.undo()) return
    if (current.work.isQuick && !current.data.review) bringBack()
    else announce(say("nothing-to-undo"))
  },
  redo: () => current.work.redo(),
  async release() {
    const { data, drafts, handover } = current
    if (!data.page || data.page.mode === "correct" || handover.isBusy()) return location.assign(data.urls.home)
    const reply = await send("POST", data.urls.release)
    if (reply.status !== 204 && reply.code !== "lapsed") return toast(reply.detail || say(reply.status ? "not-now" : "offline-title"))
    drafts.remove(data.page.items.map((item) => item.id))
    location.assign(data.urls.home)
  },
}
const WITHOUT_PAGE = ["previous", "instructions", "keys", "release"]

function act(action) {
  if (!current?.handover || current.handover.isBusy()) return false // a page that is still being mounted has none
  if (!current.work && !WITHOUT_PAGE.includes(action.name)) return false
  const run = actions[action.name]
  if (run) run(action)
  else if (current.work.act(action)) return true
  else if (action.name.startsWith("zoom-") && current.work.task === "one") zoomTile(current, action.name)
  else return false
  return true
}

function changeLayout(count) {
  const { data, work, handover } = current
  if (!data.page || data.page.layout === count || handover.isBusy()) return
  handover.go("POST", data.urls.layout, { layout: count, keep: JSON.stringify(work.answered()) })
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || !current) return
  const { target } = event
  const dialog = openedDialog()
  const isTyping = target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]")
  if (isTyping) return
  if (dialog) {
    const name = actionOf(event, { task: "boxes", hasLetters: hasLetters() })?.name
    if (name === dialog.id && (name === "keys" || name === "instructions")) {
      event.preventDefault()
      dialog.close()
    }
    return
  }
  if ((event.key === "Enter" || event.key === " ") && target.closest?.("a, button, summary, input")) return
  const { work } = current
  if (work?.handleKey?.(event)) return event.preventDefault()
  const isInStage = Boolean(target.closest?.(".stage"))
  const action = actionOf(event, { task: work?.task ?? "one", hasLetters: hasLetters(), isInStage })
  if (action && act(action)) event.preventDefault()
})

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act], [data-class], [data-layout], [data-zoom]")
  if (!button || !current || button.disabled) return
  const { act: name, class: label, layout, zoom } = button.dataset
  button.closest("dialog")?.close()
  if (label && current.work && !current.handover.isBusy()) applyClass(Number(label), true)
  else if (layout) changeLayout(Number(layout))
  else if (zoom && current.work?.task === "one") zoomTile(current, `zoom-${zoom}`)
  else if (name) act({ name })
})

/** What is not needed at once, but perhaps without a connection later: with the first sign of life. */
function fetchRest() {
  import("labeler/closer")
  import("shell")
}

function mount(event) {
  const found = event.target.id === "page" ? event.target : event.target.querySelector("#page")
  if (!found || found === current?.root) return
  current?.destroy()
  mountPage(found)
}

wireDialogs()
createDrafts(localStorageOrNone(), "").prune()
document.addEventListener("htmx:load", mount)
for (const sign of ["pointerdown", "keydown"]) document.addEventListener(sign, fetchRest, { once: true })
for (const input of document.querySelectorAll("[data-letters]")) {
  input.checked = hasLetters()
  input.addEventListener("change", () => {
    remember(LETTERS, input.checked ? "on" : "off")
    for (const other of document.querySelectorAll("[data-letters]")) other.checked = input.checked
  })
}

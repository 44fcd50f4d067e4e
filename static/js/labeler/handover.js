/**
 * The page's talk with the server: submit and retry, the next page, the lease, what comes after.
 *
 * htmx sends every request; here stands what is done with the answers (LOOK 6: hand-over, errors, offline, paused).
 */

const RETRY_SECONDS = [2, 4, 8, 16, 30]
const PAUSED_SECONDS = 10
const SKELETON_AFTER = 300 // milliseconds
const DECODE_AT_MOST = 8000 // milliseconds; then the page comes without that image
const RENEW_EVERY = 60_000 // milliseconds
const IDLE_AFTER = 60_000 // milliseconds without a sign of life that still count as work

/**
 * Send a request by htmx. Resolves always: status 0 is "no answer".
 * @returns {Promise<{status: number, text: string, code: string, detail: string, item: number | null}>}
 */
export function send(verb, url, values = {}, source = document.body) {
  return new Promise((resolve) => {
    const handler = (_source, { xhr }) => resolve({ status: xhr.status, text: xhr.responseText, ...problem(xhr) })
    const unanswered = () => resolve({ status: 0, text: "", code: "", detail: "", item: null })
    htmx.ajax(verb, url, { source, target: source, swap: "none", values, handler }).then(unanswered, unanswered)
  })
}

/** The same for what should be a labeling page; anything else, as a login page, counts as logged out. */
async function sendForPage(...request) {
  const reply = await send(...request)
  return reply.status === 200 && !reply.text.includes('id="page-data"') ? { ...reply, status: 401 } : reply
}

function problem(xhr) {
  const none = { code: "", detail: "", item: null }
  if (xhr.status < 400) return none
  try {
    return { ...none, ...JSON.parse(xhr.responseText) }
  } catch {
    return none
  }
}

/** Seconds until the next try after so many failures. */
export const retrySeconds = (failures) => RETRY_SECONDS[Math.min(failures, RETRY_SECONDS.length) - 1]

/** Put the page that the server sent in place of the present one, as soon as its previews are decoded. */
export async function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html")
  const data = JSON.parse(fresh.getElementById("page-data").textContent)
  if (data.leave) return location.assign(data.leave) // a reviewer's last correction leads back to the review
  const isDetection = data.project.task_type === "detection"
  const images = (data.page?.items ?? []).map(({ image }) => (isDetection ? image.large_url : image.preview_url))
  await Promise.all(images.map(decoded))
  htmx.swap("#page", fresh.getElementById("page").outerHTML, { swapStyle: "outerHTML", swapDelay: 0, settleDelay: 0 })
}

function decoded(url) {
  const image = new Image()
  image.src = url
  const late = new Promise((resolve) => { setTimeout(resolve, DECODE_AT_MOST) })
  return Promise.race([image.decode().catch(() => {}), late])
}

let ahead = [] // held, so that the browser keeps them decoded in memory

/** Fetch what will very likely come next, after everything that shows now. */
export function preload(urls) {
  ahead = urls.map((url) => {
    const image = new Image()
    image.fetchPriority = "low"
    image.src = url
    return image
  })
}

/**
 * Keep the lease by activity, and count the seconds at work. Pure but for `renew`.
 * @param {{renew: () => void, now?: () => number}} options renew is called at most once a minute
 */
export function createLease({ renew, now = Date.now }) {
  let last = now()
  let renewed = now()
  let worked = 0
  const tick = () => {
    const gap = now() - last
    if (gap <= IDLE_AFTER) worked += gap
    last = now()
  }
  return {
    /** A sign of life: a key, a press, a move. */
    touch() {
      tick()
      if (now() - renewed < RENEW_EVERY) return
      renewed = now()
      renew()
    },
    seconds() {
      tick()
      return worked / 1000
    },
  }
}

/**
 * Submits one page; lives as long as the page does.
 *
 * @param {{root: HTMLElement, data: object, work: object, lease: object, drafts: object, say: Function,
 *   dock: {tell: Function, hush: Function}, onStored: (items: object[]) => void, onLapsed: () => void,
 *   logIn: () => Promise<boolean>, onArrival: (words: string) => void}} context
 */
export function createHandover({ root, data, work, lease, drafts, say, dock, onStored, onLapsed, logIn, onArrival }) {
  let isSending = false
  let isWaiting = false
  let isOver = false
  let failures = 0
  let timer = 0

  function wait(isIt) {
    isWaiting = isIt
    clearInterval(timer)
    if (!isIt) dock.hush?.()
  }

  /** Do it while the page shows that something runs, but only if it takes long. */
  async function running(job) {
    isSending = true
    root.toggleAttribute("data-busy", true)
    const skeleton = setTimeout(() => root.classList.add("is-waiting"), SKELETON_AFTER)
    try {
      return await job()
    } finally {
      clearTimeout(skeleton)
      root.classList.remove("is-waiting")
      root.removeAttribute("data-busy")
      isSending = false
    }
  }

  function retryIn(seconds, tell) {
    isWaiting = true
    let left = seconds
    const tick = () => {
      if (left <= 0) return submit()
      tell(left)
      left -= 1
    }
    clearInterval(timer)
    timer = setInterval(tick, 1000)
    tick()
  }

  async function submit() {
    if (isSending || isOver) return
    if (work.missing().length) {
      wait(false)
      return work.showMissing()
    }
    clearInterval(timer)
    const items = work.payload()
    const values = { items: JSON.stringify(items), seconds: lease.seconds().toFixed(1) }
    const reply = await running(async () => {
      const answer = await sendForPage("POST", data.urls.submit, values, root)
      if (answer.status === 200) await stored(items, answer)
      return answer
    })
    if (!isOver && reply.status !== 200) await failed(reply)
  }

  async function stored(items, reply) {
    wait(false)
    drafts.remove(items.map((item) => item.id))
    drafts.tellStored(data.page.id)
    onStored(items)
    await show(reply.text)
  }

  async function failed(reply) {
    const { status, code, detail, item } = reply
    if (code === "lapsed") {
      wait(false)
      return onLapsed()
    }
    if (status === 401 || status === 403) {
      wait(false)
      if (await logIn()) return submit()
      return dock.tell({ kind: "warn", sign: "lock", title: say("login-title"), text: say("login"), button: say("login-button"), press: submit })
    }
    if (code === "changed") {
      wait(false)
      if (data.page.mode === "correct") drafts.remove(data.page.items.map((item) => item.id))
      return go("GET", data.urls.label, {}, { then: detail || say("reloaded") })
    }
    if (code === "paused") {
      return retryIn(PAUSED_SECONDS, () => dock.tell({ kind: "", sign: "pause", title: say("paused-title"), text: say("paused") }))
    }
    if (status === 404) {
      wait(false)
      return dock.tell({ kind: "bad", sign: "warn", title: say("gone-title"), text: say("gone"), button: say("to-projects"), press: () => location.assign(data.urls.home) })
    }
    if (status >= 400 && status < 500 && status !== 429) {
      wait(false)
      if (item) work.focus(item)
      return dock.tell({ kind: "bad", sign: "warn", title: say("refused-title"), text: detail })
    }
    failures += 1
    const title = say(status ? "server-title" : "offline-title")
    retryIn(retrySeconds(failures), (n) => {
      dock.tell({ kind: "warn", sign: "offline", title, text: say("offline", { n }), button: say("try-now"), press: submit })
    })
  }

  /** Fetch another page: the earlier one, the newest, other images per page. 204 means there is none. */
  async function go(verb, url, values = {}, { none = () => {}, then = "" } = {}) {
    if (isSending || isOver) return
    wait(false)
    if (then) onArrival(then)
    const reply = await running(async () => {
      const answer = await sendForPage(verb, url, values, root)
      if (answer.status === 200) await show(answer.text)
      return answer
    })
    if (isOver || reply.status === 200) return
    onArrival("")
    if (reply.status === 204) return none()
    if (reply.code === "lapsed") return onLapsed()
    if ((reply.status === 401 || reply.status === 403) && (await logIn())) return go(verb, url, values, { none, then })
    dock.toast(reply.detail || say(reply.status ? "not-now" : "offline-title"))
  }

  const online = () => { if (isWaiting) submit() }
  addEventListener("online", online)

  return {
    submit,
    go,
    isBusy: () => isSending,
    isWaiting: () => isWaiting,
    destroy() {
      isOver = true
      clearInterval(timer)
      removeEventListener("online", online)
    },
  }
}

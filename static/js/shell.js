/**
 * What every page of labelers has: the settings dialog, and Enter on the list of projects.
 */

const YEAR = 365 * 24 * 3600

/** The server reads the cookie, so that a page has its colours from the first moment. */
function setTheme(theme) {
  const isChosen = theme === "light" || theme === "dark"
  document.cookie = `theme=${isChosen ? theme : ""}; path=/; max-age=${isChosen ? YEAR : 0}; samesite=lax`
  if (isChosen) document.documentElement.dataset.theme = theme
  else delete document.documentElement.dataset.theme
  for (const button of document.querySelectorAll("[data-theme-choice]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === theme))
  }
}

document.addEventListener("click", ({ target }) => {
  const choice = target.closest("[data-theme-choice]")
  if (choice) setTheme(choice.dataset.themeChoice)
  const opener = target.closest("[data-open]")
  const dialog = opener && document.getElementById(opener.dataset.open)
  if (dialog && !dialog.open) dialog.showModal()
  target.closest("[data-close]")?.closest("dialog").close()
})

document.addEventListener("keydown", (event) => {
  const isElsewhere = event.target.closest("a, button, input, select, textarea, dialog")
  if (event.key === "Enter" && !isElsewhere && !event.defaultPrevented) document.querySelector("[data-enter]")?.click()
})

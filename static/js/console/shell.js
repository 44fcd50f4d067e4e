/* The side bar on a phone: a button opens and closes it, and so does Escape. */
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-menu]")
  if (button) setOpen(button, button.getAttribute("aria-expanded") !== "true")
})

document.addEventListener("keydown", (event) => {
  const button = document.querySelector("[data-menu][aria-expanded=true]")
  if (event.key === "Escape" && button) { setOpen(button, false); button.focus() }
})

function setOpen(button, isOpen) {
  button.setAttribute("aria-expanded", isOpen)
  document.getElementById("side").classList.toggle("is-open", isOpen)
}

"""How the page looks: colours with enough contrast, and a before/after divider for people without a mouse."""

import gradio as gr

THEME = gr.themes.Default(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(  # enough contrast for WCAG AA in both modes, and no font from anywhere
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_600",
    button_primary_text_color="white",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
    color_accent="*primary_700",
)
ACTUAL_SIZE_CLASS = "actual-size"
CSS = f"""
.dark {{ --color-accent: var(--primary-400) !important; }} /* the theme has one accent for both modes */
.{ACTUAL_SIZE_CLASS} img {{ object-fit: none !important; object-position: var(--pan-x, 50%) var(--pan-y, 50%) }}
.{ACTUAL_SIZE_CLASS} .wrap {{ cursor: grab; touch-action: none }}
"""
# What Gradio leaves out: its before/after divider can't be reached without a mouse, so it gets a role, a name, focus
# and the arrow keys; examples get the names of their files; at actual size the picture can be dragged, or moved by
# the arrow keys with Shift.
PAGE_SCRIPT = """() => {
  const drag = (divider, step) => {
    const box = divider.getBoundingClientRect();
    const at = {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2};
    const options = {bubbles: true, cancelable: true, view: window};
    divider.dispatchEvent(new MouseEvent('mousedown', {...options, ...at}));
    at.clientX += step;
    window.dispatchEvent(new MouseEvent('mousemove', {...options, ...at}));
    window.dispatchEvent(new MouseEvent('mouseup', {...options, ...at}));
    const frame = divider.parentElement.getBoundingClientRect();
    divider.setAttribute('aria-valuenow', Math.round(100 * (at.clientX - frame.left) / frame.width));
  };
  const pan = (frame, right, down) => {
    const image = frame.querySelector('img');
    const move = (axis, by, hidden) => {
      const place = parseFloat(frame.style.getPropertyValue(axis) || '50') - (hidden > 0 ? 100 * by / hidden : 0);
      frame.style.setProperty(axis, Math.min(100, Math.max(0, place)) + '%');
    };
    move('--pan-x', right, image.naturalWidth - image.clientWidth);
    move('--pan-y', down, image.naturalHeight - image.clientHeight);
  };
  const equip = () => document.querySelectorAll('[data-testid=slider]:not([tabindex])').forEach(divider => {
    const frame = divider.parentElement;
    const atActualSize = () => frame.closest('.actual-size');
    divider.tabIndex = 0;
    divider.setAttribute('role', 'slider');
    divider.setAttribute('aria-label', 'Divider between before and after; with Shift, arrow keys move the picture');
    divider.setAttribute('aria-valuenow', '50');
    divider.addEventListener('keydown', event => {
      const [right, down] = {ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20]}[event.key]
        ?? [0, 0];
      if (event.shiftKey && atActualSize()) pan(frame, -4 * right, -4 * down);
      else if (right) drag(divider, right);
      else return;
      event.preventDefault();
    });
    frame.addEventListener('pointermove', event => {
      const dragged = event.buttons && !divider.contains(event.target);
      if (dragged && atActualSize()) pan(frame, event.movementX, event.movementY);
    });
    frame.addEventListener('dragstart', event => event.preventDefault());
  });
  const name = () => document.querySelectorAll('button.gallery-item:not([aria-label])').forEach(example => {
    const file = example.querySelector('img')?.src.split('/').pop() ?? '';
    if (file) example.setAttribute('aria-label', file.replace(/\\.[a-z]+$/, '').replaceAll('-', ' '));
  });
  const improve = () => { equip(); name(); };
  new MutationObserver(improve).observe(document.body, {childList: true, subtree: true});
  improve();
}"""

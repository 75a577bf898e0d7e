// Adds what Gradio leaves out. The before/after divider can't be reached without a mouse, so it gets a role, a name,
// keyboard focus and arrow keys. Examples are named after their files. At actual size, the picture can be dragged, or
// moved with Shift and the arrow keys.

// Move the divider of a before/after slider by `step` pixels.
const moveDivider = (divider, step) => {
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

// Move both pictures of a slider by so many pixels; page.css reads the position from --pan-x and --pan-y.
const pan = (frame, right, down) => {
  const image = frame.querySelector('img');
  const move = (axis, by, hidden) => {
    const place = parseFloat(frame.style.getPropertyValue(axis) || '50') - (hidden > 0 ? 100 * by / hidden : 0);
    frame.style.setProperty(axis, Math.min(100, Math.max(0, place)) + '%');
  };
  move('--pan-x', right, image.naturalWidth - image.clientWidth);
  move('--pan-y', down, image.naturalHeight - image.clientHeight);
};

const ARROW_KEYS = {ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20]};

const makeSlidersAccessible = () => {
  document.querySelectorAll('[data-testid=slider]:not([tabindex])').forEach(divider => {
    const frame = divider.parentElement;
    const atActualSize = () => frame.closest('.actual-size');
    divider.tabIndex = 0;
    divider.setAttribute('role', 'slider');
    divider.setAttribute('aria-label', 'Divider between before and after; Shift and arrow keys move the picture');
    divider.setAttribute('aria-valuenow', '50');
    divider.addEventListener('keydown', event => {
      const [right, down] = ARROW_KEYS[event.key] ?? [0, 0];
      if (event.shiftKey && atActualSize()) pan(frame, -4 * right, -4 * down);
      else if (right) moveDivider(divider, right);
      else return;
      event.preventDefault();
    });
    frame.addEventListener('pointermove', event => {
      const dragged = event.buttons && !divider.contains(event.target);
      if (dragged && atActualSize()) pan(frame, event.movementX, event.movementY);
    });
    frame.addEventListener('dragstart', event => event.preventDefault());
  });
};

const nameExamples = () => {
  document.querySelectorAll('button.gallery-item:not([aria-label])').forEach(example => {
    const file = example.querySelector('img')?.src.split('/').pop() ?? '';
    if (file) example.setAttribute('aria-label', file.replace(/\.[a-z]+$/, '').replaceAll('-', ' '));
  });
};

// Scroll to the result, which is far below on a phone. Its pictures load once they are in view and push the rest down,
// hence the second time. Called by the page's Python code.
window.showResult = async () => {
  const scroll = () => document.querySelector('#details').scrollIntoView({block: 'nearest'});
  scroll();
  await Promise.all([...document.querySelectorAll('#result img')].map(image => image.decode().catch(() => {})));
  scroll();
};

const improve = () => {
  makeSlidersAccessible();
  nameExamples();
};
new MutationObserver(improve).observe(document.body, {childList: true, subtree: true});
improve();

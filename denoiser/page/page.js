// Adds what Gradio leaves out: photos are dropped and pasted anywhere, an upload is announced and gives way to a newer
// one, the divider and the sliders take keys, examples are named after their files, and pictures keep their zoom and can
// be moved at actual size.

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
  const percent = Math.round(100 * (at.clientX - frame.left) / frame.width);
  divider.setAttribute('aria-valuenow', Math.min(100, Math.max(0, percent)));
};

// Move both pictures of a slider by so many pixels; page.css reads the position from --pan-x and --pan-y.
const pan = (frame, right, down) => {
  const image = frame.querySelector('img');
  const move = (axis, by, hidden) => {
    const place = parseFloat(frame.style.getPropertyValue(axis) || '50') - (hidden > 0 ? 100 * by / hidden : 0);
    frame.style.setProperty(axis, Math.min(100, Math.max(0, place)) + '%');
  };
  const pixel = 1 / window.devicePixelRatio;
  move('--pan-x', right, image.naturalWidth * pixel - frame.clientWidth);
  move('--pan-y', down, image.naturalHeight * pixel - frame.clientHeight);
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

// Scroll to an element if it isn't in view, and once more when its pictures are there and push the rest down. Called by
// the page's Python code.
window.show = async id => {
  const element = document.getElementById(id);
  const scroll = () => element.scrollIntoView({block: 'nearest', behavior: 'smooth'});
  scroll();
  await Promise.all([...element.querySelectorAll('img')].map(image => image.decode().catch(() => {})));
  scroll();
};

// Gradio leaves the zoom when a picture is loaded. It is kept where the next picture is of the same size.
document.addEventListener('load', event => {
  const image = event.target;
  if (!image.matches?.('.compared img')) return;
  const size = `${image.naturalWidth}×${image.naturalHeight}`;
  if (image.dataset.size === size) event.stopPropagation();
  image.dataset.size = size;
}, true);

// Gradio takes all touches of a picture, to zoom and move it. One finger scrolls the page where there is nothing to move.
document.addEventListener('touchstart', event => {
  const frame = event.target.closest?.('.compared:not(.actual-size) .content');
  const zoomed = frame && !frame.querySelector('img').style.transform.endsWith('scale(1)');
  if (frame && !zoomed && event.touches.length === 1) event.stopPropagation();
}, true);

// Give dropped or pasted files to the upload of the tab that is open.
const openTab = () => [...document.querySelectorAll('[role=tabpanel]')].find(tab => tab.offsetParent);
const takeFiles = files => {
  const input = openTab()?.querySelector('input:has(+ .upload), #uploads input[type=file]');
  if (!input || !files.length) return;
  const taken = new DataTransfer();
  for (const file of input.multiple ? files : [files[0]]) taken.items.add(file);
  input.files = taken.files;
  input.dispatchEvent(new Event('change', {bubbles: true}));
};
const hasFiles = event => [...(event.dataTransfer?.types ?? [])].includes('Files');
document.addEventListener('dragover', event => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.add('dropping');
});
document.addEventListener('dragleave', event => {
  if (!event.relatedTarget) document.body.classList.remove('dropping');
});
document.addEventListener('drop', () => document.body.classList.remove('dropping'), true);
document.addEventListener('drop', event => {
  if (!hasFiles(event) || event.defaultPrevented) return;  // by Gradio's own drop zone
  event.preventDefault();
  takeFiles([...event.dataTransfer.files]);
});
document.addEventListener('paste', event => takeFiles([...(event.clipboardData?.files ?? [])]));

// Say that a photo is being uploaded, until the run that it starts says more. What is chosen meanwhile takes its place;
// otherwise a slow upload would replace it later. The request ends, and Gradio waits for its answer in vain.
const uploads = new Set();
const endUpload = tab => uploads.forEach(upload => upload.tab === tab && upload.request.abort());
const removeWithNextText = note => {
  const observer = new MutationObserver(() => {
    observer.disconnect();
    note.remove();
  });
  observer.observe(note.closest('.block'), {childList: true, subtree: true});  // where an error shows, too
};
const send = window.fetch;
window.fetch = async (address, options) => {
  if (!/\/gradio_api\/upload(\?|$)/.test(address)) return send(address, options);
  const tab = openTab(), says = tab?.querySelector('.upload') && tab.querySelector('.prose.says');
  const upload = {tab, request: new AbortController()}, note = document.createElement('p');
  note.className = 'upload-note';
  note.textContent = 'Uploading your photo…';
  if (says) endUpload(tab);  // uploads for the tab for many photos add to each other
  says?.prepend(note);
  uploads.add(upload);
  try {
    const answer = await send(address, {...options, signal: upload.request.signal});
    if (!answer.ok) note.remove();
    else if (says) removeWithNextText(note);
    return answer;
  } catch (error) {
    note.remove();
    if (upload.request.signal.aborted) return new Promise(() => {});
    throw error;
  } finally {
    uploads.delete(upload);
  }
};
document.addEventListener('click', event => {
  if (event.target.closest('.choose .gallery-item, #cancel')) endUpload(openTab());
}, true);

// A slider has a number to type as well. Gradio passes on whatever is typed, even nothing, so hold back what is no value of
// the slider until the field is left, and correct it then.
const sliderOf = input => input.type === 'number' && input.closest('.block')?.querySelector('input[type=range]');
document.addEventListener('input', event => {
  const {value, validity} = event.target;
  if (sliderOf(event.target) && (value === '' || !validity.valid)) event.stopPropagation();
}, true);
document.addEventListener('blur', event => {
  const input = event.target, slider = sliderOf(input);
  if (!slider || (input.value !== '' && input.validity.valid)) return;
  const within = Math.min(slider.max, Math.max(slider.min, Math.round(input.value)));
  input.value = input.value === '' ? slider.value : within;
  input.dispatchEvent(new Event('input', {bubbles: true}));
}, true);

// Gradio reports the release of a slider by the mouse only. The keyboard releases it too: an arrow key, or Enter after
// typing a number. Report a release a little later, once: requests sent at once may arrive in another order, and what
// moving a slider sets elsewhere (the box for Auto) is set with the next frame.
const MOVING_KEYS = [...Object.keys(ARROW_KEYS), 'Home', 'End', 'PageUp', 'PageDown'];
const RELEASE_AFTER = 100;  // milliseconds
const releaseSoon = (input, release) => {
  clearTimeout(input.releasing);
  input.releasing = setTimeout(() => requestAnimationFrame(() => setTimeout(release)), RELEASE_AFTER);
};
const releaseSlider = slider =>
  releaseSoon(slider, () => slider.dispatchEvent(new PointerEvent('pointerup', {bubbles: true})));
document.addEventListener('pointerup', event => {
  if (event.target.type !== 'range' || !event.isTrusted) return;
  event.stopPropagation();
  releaseSlider(event.target);
}, true);
document.addEventListener('keyup', event => {
  const input = event.target;
  if (input.type === 'range' && MOVING_KEYS.includes(event.key)) releaseSlider(input);
  if (event.key === 'Enter' && sliderOf(input)) releaseSoon(input, () => input.blur());
});

// The reset button of a slider goes back to a fixed number. For the noise strength, that is Auto.
document.addEventListener('click', event => {
  const strength = event.target.closest('.strength button')?.closest('.strength');
  if (!strength) return;
  event.stopPropagation();
  const automatic = document.getElementById(strength.id.replace('strength', 'auto')).querySelector('input');
  if (!automatic.checked) automatic.click();
}, true);

// At actual size, a pixel of the photo is a pixel of the screen; page.css reads --pixel.
const setPixelSize = () => document.documentElement.style.setProperty('--pixel', 1 / window.devicePixelRatio);
window.addEventListener('resize', setPixelSize);
setPixelSize();

// Ask before the page is left while photos are being uploaded or denoised, and say after a reload that they are gone.
const isBusy = () => uploads.size || document.querySelector('[data-testid=status-tracker].generating, .progress-level');
window.addEventListener('beforeunload', event => {
  if (isBusy()) event.preventDefault();
});
document.addEventListener('change', event => {
  if (event.target.type === 'file') sessionStorage.setItem('photo-chosen', 'yes');
}, true);
// Return the text for the start. Called by the page's Python code.
window.textOnArrival = text => {
  const lost = sessionStorage.getItem('photo-chosen');
  sessionStorage.removeItem('photo-chosen');
  return lost ? 'The page was reloaded, so your photo is gone. Choose it again. The picture above is an example.' : text;
};

const improve = () => {
  makeSlidersAccessible();
  nameExamples();
  document.querySelectorAll('.prose.says:not([role])').forEach(says => says.role = 'status');
  document.querySelectorAll('.empty[aria-label]').forEach(place => place.role = 'img');
  document.querySelectorAll('footer img').forEach(icon => icon.alt = '');  // beside the same word
};
new MutationObserver(improve).observe(document.body, {childList: true, subtree: true});
improve();

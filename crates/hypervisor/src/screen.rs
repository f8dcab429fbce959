//! The log on the screen: `console=vga`.
//!
//! From the time that the boot loader's screen is known until Dom0 runs, or for good with `vga=keep`.
#![expect(unsafe_code, reason = "claims the screen's memory")]

use boot_info::{BootFacts, Display};
use command_line::Options;
use ids::Maddr;
use machine::layout;
use machine::paging::{Access, PageSize, PageTables, TableMemory};
use machine::screen::{Format, Screen};
use spin::Mutex;

use crate::console::{self, log};
use crate::firmware::BOOT_MAP_END;
use crate::options;
use crate::sealed::sealed;

/// The screen, as long as it shows the log. Derived: a new life has none, unless `vga=keep`.
static SCREEN: Mutex<Screen> = Mutex::new(Screen::CLOSED);

/// Shows a part of the log.
pub(crate) fn write(bytes: &[u8]) {
    // Whoever holds the screen has failed in the middle of it.
    if let Some(mut screen) = SCREEN.try_lock() {
        screen.write(bytes);
    }
}

/// What is behind a screen that can show the log: where its memory is, and its form.
fn video(facts: &BootFacts) -> Option<(Maddr, Format)> {
    const TEXT: Maddr = Maddr(0xb_8000);
    match facts.display {
        Display::Text { columns, rows, .. } => Some((TEXT, Format::Text { columns, rows })),
        Display::Pixels { address, pitch, width, height, bits, .. } => {
            let bytes = bits.div_ceil(8);
            let whole = u32::from(width) * u32::from(bytes) <= pitch;
            (whole && matches!(bytes, 2..=4))
                .then_some((Maddr(address), Format::Pixels { pitch, width, height, bytes }))
        }
        Display::None => None,
    }
}

/// Page-aligned start and length of video memory; `None` if there is no room for it.
fn video_pages(facts: &BootFacts) -> Option<(Maddr, u64)> {
    let (at, format) = video(facts)?;
    let offset = at.0 % ids::FRAME_SIZE;
    let len = (format.bytes() + offset).next_multiple_of(ids::FRAME_SIZE);
    (len <= layout::SCREEN_SIZE).then_some((Maddr(at.0 - offset), len))
}

/// Shows the log on the screen if `console=` has `vga`, beginning with what was said so far. The boot tables are in
/// use, which show the first 4 GiB.
pub(crate) fn open(facts: &BootFacts, options: &Options) {
    if !options.console.vga {
        return;
    }
    let Some((_, len)) = video_pages(facts).filter(|(start, len)| start.0 + len <= BOOT_MAP_END) else {
        log!("console=vga: the boot loader left no screen that the log can be shown on");
        return;
    };
    let Some((at, format)) = video(facts) else { return };
    let mut screen = SCREEN.lock();
    // SAFETY: the boot tables' direct map shows it, and Dom0 does not run yet.
    if unsafe { screen.open(layout::DIRECT_MAP + at.0, format) } {
        console::each_said(|bytes| screen.write(bytes));
    }
    drop(screen);
    log!("Screen for the log: {format:?} at {:#x}, {} KiB", at.0, len >> 10);
}

/// Maps the screen's memory where it stays, if the log is to be shown there.
pub(crate) fn map(memory: &mut impl TableMemory, tables: PageTables, facts: &BootFacts, options: &Options) {
    if let Some((start, len)) = video_pages(facts).filter(|_| options.console.vga) {
        tables
            .map(memory, layout::SCREEN, start, len, Access::Device, PageSize::Small)
            .expect("mapping the screen");
    }
}

/// Uses the screen where [`map`] put it: the final tables are in use.
pub(crate) fn moved(facts: &BootFacts) {
    let mut screen = SCREEN.lock();
    if screen.is_open() {
        let offset = video(facts).map_or(0, |(at, _)| at.0 % ids::FRAME_SIZE);
        // SAFETY: mapped there for good.
        unsafe { screen.moved(layout::SCREEN + offset) };
    }
}

/// Dom0 is about to run: the screen is its, unless `vga=keep`.
pub(crate) fn leave() {
    if !SCREEN.lock().is_open() {
        return;
    }
    if options::current().vga.keep {
        log!("The screen shows the log also while Dom0 has it (vga=keep)");
    } else {
        log!("The screen is Dom0's from now on");
        SCREEN.lock().close();
    }
}

/// In a new life: the screen again, empty, with `vga=keep`.
pub(crate) fn keep() {
    let options = options::current();
    let (true, Some((at, format))) = (options.console.vga && options.vga.keep, video(sealed().facts)) else {
        return;
    };
    // SAFETY: `map` mapped it for good; the user wants it shared with Dom0.
    unsafe { SCREEN.lock().open(layout::SCREEN + at.0 % ids::FRAME_SIZE, format) };
}

/// Where the log's last line ends on the screen: from the left, from the top.
pub(crate) fn cursor() -> Option<(u16, u16)> {
    let screen = SCREEN.lock();
    screen.is_open().then(|| screen.cursor())
}

//! Texts without an allocator: what the kernel gave, and what is put together here.

use core::mem::MaybeUninit;

use libc::c_char;

/// Gives the bytes of a text that ends with NUL.
///
/// # Safety
/// `text` is such a text, and stays as it is.
pub unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    let mut length = 0;
    unsafe {
        while *text.add(length) != 0 {
            length += 1;
        }
        core::slice::from_raw_parts(text.cast(), length)
    }
}

/// A text of up to `MAX` bytes. What is beyond is left out, and [`Text::is_cut`].
pub struct Text<const MAX: usize> {
    bytes: [MaybeUninit<u8>; MAX],
    length: usize,
    cut: bool,
}

impl<const MAX: usize> Text<MAX> {
    pub fn new() -> Self {
        Self { bytes: [const { MaybeUninit::uninit() }; MAX], length: 0, cut: false }
    }

    pub fn add(&mut self, more: &[u8]) {
        for byte in more {
            match self.bytes.get_mut(self.length) {
                Some(place) => {
                    place.write(*byte);
                    self.length += 1;
                }
                None => self.cut = true,
            }
        }
    }

    pub fn is_cut(&self) -> bool {
        self.cut
    }

    pub fn bytes(&self) -> &[u8] {
        // Safe: so many have been written.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.length) }
    }

    pub fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }
}

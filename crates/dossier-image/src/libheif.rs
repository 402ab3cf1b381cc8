//! The system's libheif, loaded at run time. All `unsafe` code for it is in this file.
//!
//! Only functions that libheif has had unchanged since 1.0 are required. Two newer ones, which
//! bound its threads and memory, are used where they exist. Nothing is linked: without the library
//! the program works, but HEIC pictures have no previews.

#![expect(unsafe_code, reason = "a C library is loaded and called")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::RenderError;

/// The name of every libheif with the stable interface.
const NAME: &str = "libheif.so.1";

/// The oldest version that was tested: Debian 11's.
const OLDEST: u32 = 0x010b_0000;

const COLORSPACE_RGB: c_int = 1;
const CHROMA_INTERLEAVED_RGB: c_int = 10;
const CHROMA_INTERLEAVED_RGBA: c_int = 11;
const CHANNEL_INTERLEAVED: c_int = 10;
const COMPRESSION_HEVC: c_int = 1;

/// `struct heif_error`, which is returned by value.
#[repr(C)]
struct Error {
    code: c_int,
    subcode: c_int,
    message: *const c_char,
}

/// `struct heif_context`, `struct heif_image_handle` and `struct heif_image`: only used behind
/// pointers.
type Context = c_void;
type Handle = c_void;
type Image = c_void;

/// The functions of the library.
struct Functions {
    version: unsafe extern "C" fn() -> *const c_char,
    version_number: unsafe extern "C" fn() -> u32,
    have_decoder: unsafe extern "C" fn(c_int) -> c_int,
    context_alloc: unsafe extern "C" fn() -> *mut Context,
    context_free: unsafe extern "C" fn(*mut Context),
    read_from_memory:
        unsafe extern "C" fn(*mut Context, *const c_void, usize, *const c_void) -> Error,
    primary_handle: unsafe extern "C" fn(*mut Context, *mut *mut Handle) -> Error,
    handle_release: unsafe extern "C" fn(*const Handle),
    handle_width: unsafe extern "C" fn(*const Handle) -> c_int,
    handle_height: unsafe extern "C" fn(*const Handle) -> c_int,
    has_alpha: unsafe extern "C" fn(*const Handle) -> c_int,
    decode:
        unsafe extern "C" fn(*const Handle, *mut *mut Image, c_int, c_int, *const c_void) -> Error,
    image_release: unsafe extern "C" fn(*const Image),
    plane: unsafe extern "C" fn(*const Image, c_int, *mut c_int) -> *const u8,
    image_width: unsafe extern "C" fn(*const Image, c_int) -> c_int,
    image_height: unsafe extern "C" fn(*const Image, c_int) -> c_int,
    /// Since 1.13.
    set_threads: Option<unsafe extern "C" fn(*mut Context, c_int)>,
    set_max_image_size: Option<unsafe extern "C" fn(*mut Context, c_int)>,
    /// Keeps the functions above valid.
    _library: Library,
}

/// Whether this machine can decode HEIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// libheif is installed and decodes HEIC.
    Ready {
        /// Its version.
        version: String,
    },
    /// libheif is missing, too old, or was built without a decoder for HEIC.
    Missing {
        /// The reason, for people.
        problem: String,
    },
}

/// Loads the system's libheif and its decoders, once per process.
///
/// A process that drops its right to open files must call this before it does.
pub fn support() -> Support {
    match functions() {
        Ok(functions) => Support::Ready { version: functions.version() },
        Err(problem) => Support::Missing { problem: problem.clone() },
    }
}

fn functions() -> Result<&'static Functions, &'static String> {
    static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();
    FUNCTIONS.get_or_init(Functions::load).as_ref()
}

impl Functions {
    fn load() -> Result<Self, String> {
        // SAFETY: the initialisers of the library and its dependencies are trusted like the rest of
        // the system they belong to.
        let library = unsafe { Library::open(Some(NAME), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|error| format!("{NAME} cannot be loaded: {error}"))?;
        // SAFETY: the types are those of libheif/heif.h, unchanged since 1.0 or optional.
        let functions = unsafe { Self::find(library) };
        let functions =
            functions.map_err(|error| format!("{NAME} is not a known libheif: {error}"))?;
        functions.check()?;
        Ok(functions)
    }

    /// # Safety
    ///
    /// `library` must be libheif.
    unsafe fn find(library: Library) -> Result<Self, libloading::Error> {
        macro_rules! function {
            // SAFETY: the caller guarantees the library; the field gives the type.
            ($name:literal) => {
                *unsafe { library.get($name) }?
            };
        }
        macro_rules! newer_function {
            // SAFETY: as above.
            ($name:literal) => {
                unsafe { library.get($name) }.ok().map(|found| *found)
            };
        }
        Ok(Self {
            version: function!("heif_get_version"),
            version_number: function!("heif_get_version_number"),
            have_decoder: function!("heif_have_decoder_for_format"),
            context_alloc: function!("heif_context_alloc"),
            context_free: function!("heif_context_free"),
            read_from_memory: function!("heif_context_read_from_memory_without_copy"),
            primary_handle: function!("heif_context_get_primary_image_handle"),
            handle_release: function!("heif_image_handle_release"),
            handle_width: function!("heif_image_handle_get_width"),
            handle_height: function!("heif_image_handle_get_height"),
            has_alpha: function!("heif_image_handle_has_alpha_channel"),
            decode: function!("heif_decode_image"),
            image_release: function!("heif_image_release"),
            plane: function!("heif_image_get_plane_readonly"),
            image_width: function!("heif_image_get_width"),
            image_height: function!("heif_image_get_height"),
            set_threads: newer_function!("heif_context_set_max_decoding_threads"),
            set_max_image_size: newer_function!("heif_context_set_maximum_image_size_limit"),
            _library: library,
        })
    }

    /// Checks the version and the HEIC decoder. Makes the library load its plugins.
    fn check(&self) -> Result<(), String> {
        // SAFETY: these take a number or nothing, and return a number.
        let (number, has_decoder) =
            unsafe { ((self.version_number)(), (self.have_decoder)(COMPRESSION_HEVC) != 0) };
        if number < OLDEST {
            return Err(format!("{NAME} is version {}, too old", self.version()));
        }
        if !has_decoder {
            return Err(format!("{NAME} {} has no decoder for HEIC", self.version()));
        }
        Ok(())
    }

    fn version(&self) -> String {
        // SAFETY: a constant string, terminated by a zero byte.
        unsafe { CStr::from_ptr((self.version)()) }.to_string_lossy().into_owned()
    }
}

/// A file whose metadata libheif has read.
pub(crate) struct File<'a> {
    functions: &'static Functions,
    context: NonNull<Context>,
    handle: NonNull<Handle>,
    /// The library reads from it until the context is freed.
    _source: &'a [u8],
}

impl<'a> File<'a> {
    /// Reads the metadata of the primary picture. Decodes nothing yet.
    ///
    /// # Errors
    ///
    /// [`RenderError::Unsupported`] without the library, [`RenderError::Broken`] when
    /// it rejects the file.
    pub(crate) fn open(source: &'a [u8], max_edge_px: u32) -> Result<Self, RenderError> {
        let functions = functions().map_err(|_| RenderError::Unsupported)?;
        // SAFETY: takes nothing, returns a context or null.
        let context = NonNull::new(unsafe { (functions.context_alloc)() })
            .ok_or_else(|| RenderError::broken("no memory"))?;
        let opened = Opened { functions, context };
        let edge = c_int::try_from(max_edge_px).unwrap_or(c_int::MAX);
        // SAFETY: the context is alive; these set numbers in it.
        unsafe {
            if let Some(set_threads) = functions.set_threads {
                set_threads(context.as_ptr(), 0);
            }
            if let Some(set_max_image_size) = functions.set_max_image_size {
                set_max_image_size(context.as_ptr(), edge);
            }
        }
        let mut handle = ptr::null_mut();
        // SAFETY: the source outlives the context (`_source`); the pointer to the handle is valid.
        unsafe {
            let start = source.as_ptr().cast();
            check(&(functions.read_from_memory)(
                context.as_ptr(),
                start,
                source.len(),
                ptr::null(),
            ))?;
            check(&(functions.primary_handle)(context.as_ptr(), &raw mut handle))?;
        }
        let handle =
            NonNull::new(handle).ok_or_else(|| RenderError::broken("no primary picture"))?;
        std::mem::forget(opened);
        Ok(Self { functions, context, handle, _source: source })
    }

    /// Width and height after cropping and turning, as the metadata states them.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        // SAFETY: the handle is alive.
        let size = unsafe {
            let handle = self.handle.as_ptr();
            ((self.functions.handle_width)(handle), (self.functions.handle_height)(handle))
        };
        Some((u32::try_from(size.0).ok()?, u32::try_from(size.1).ok()?))
    }

    pub(crate) fn has_alpha(&self) -> bool {
        // SAFETY: the handle is alive.
        unsafe { (self.functions.has_alpha)(self.handle.as_ptr()) != 0 }
    }

    /// Decodes the primary picture, cropped and upright, to eight bits of red, green and blue, and
    /// of alpha where it has any.
    ///
    /// # Errors
    ///
    /// [`RenderError::Broken`].
    pub(crate) fn decode(&self) -> Result<Pixels, RenderError> {
        let chroma =
            if self.has_alpha() { CHROMA_INTERLEAVED_RGBA } else { CHROMA_INTERLEAVED_RGB };
        let mut image = ptr::null_mut();
        // SAFETY: the handle is alive and the pointer to the image is valid. Null options select
        // the defaults, which apply the container's transformations.
        let result = unsafe {
            (self.functions.decode)(
                self.handle.as_ptr(),
                &raw mut image,
                COLORSPACE_RGB,
                chroma,
                ptr::null(),
            )
        };
        check(&result)?;
        let image = NonNull::new(image).ok_or_else(|| RenderError::broken("no picture"))?;
        Ok(Pixels {
            functions: self.functions,
            image,
            channel_count: if self.has_alpha() { 4 } else { 3 },
        })
    }
}

impl Drop for File<'_> {
    fn drop(&mut self) {
        // SAFETY: both are owned by this value and released once, the handle first.
        unsafe {
            (self.functions.handle_release)(self.handle.as_ptr());
            (self.functions.context_free)(self.context.as_ptr());
        }
    }
}

/// A context that has no handle yet.
struct Opened {
    functions: &'static Functions,
    context: NonNull<Context>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: allocated by context_alloc and freed once.
        unsafe { (self.functions.context_free)(self.context.as_ptr()) }
    }
}

/// A decoded picture, in the library's memory.
pub(crate) struct Pixels {
    functions: &'static Functions,
    image: NonNull<Image>,
    channel_count: usize,
}

impl Pixels {
    /// Width, height, stride in bytes, and the rows. `None` when they are inconsistent.
    pub(crate) fn rows(&self) -> Option<(u32, u32, usize, &[u8])> {
        let mut stride = 0;
        // SAFETY: the image is alive.
        let (width, height, start) = unsafe {
            let image = self.image.as_ptr();
            (
                (self.functions.image_width)(image, CHANNEL_INTERLEAVED),
                (self.functions.image_height)(image, CHANNEL_INTERLEAVED),
                (self.functions.plane)(image, CHANNEL_INTERLEAVED, &raw mut stride),
            )
        };
        let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
        let stride = usize::try_from(stride).ok()?;
        let row_bytes = (width as usize).checked_mul(self.channel_count)?;
        if start.is_null() || width == 0 || height == 0 || stride < row_bytes {
            return None;
        }
        let length = stride.checked_mul(height as usize - 1)?.checked_add(row_bytes)?;
        // SAFETY: a plane has `stride` bytes per row, and a row of pixels for the last one. It
        // lives and stays unchanged as long as the image.
        Some((width, height, stride, unsafe { std::slice::from_raw_parts(start, length) }))
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        // SAFETY: returned by decode and released once.
        unsafe { (self.functions.image_release)(self.image.as_ptr()) }
    }
}

fn check(error: &Error) -> Result<(), RenderError> {
    if error.code == 0 {
        return Ok(());
    }
    // The library's own message can quote the file; numbers cannot.
    Err(RenderError::broken(format!("libheif error {} ({})", error.code, error.subcode)))
}

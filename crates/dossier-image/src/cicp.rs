//! Code points of ISO/IEC 23091-2: how samples represent colours, without a profile.

use moxcms::{
    CicpColorPrimaries, CicpProfile, ColorProfile, MatrixCoefficients, TransferCharacteristics,
};

/// The colour coding that a file or a stream states for its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nclx {
    pub(crate) primaries: u16,
    pub(crate) transfer: u16,
    pub(crate) matrix: u16,
    pub(crate) full_range: bool,
}

impl Nclx {
    /// An equivalent colour profile; `None` when that is sRGB or indistinguishable from it.
    ///
    /// The transfer functions of video (BT.709, BT.2020) are treated as sRGB's, as screens and
    /// browsers do. So are those of high dynamic range (PQ, HLG): the result is flat, but not
    /// nearly black as with a literal conversion.
    pub(crate) fn profile(self) -> Option<Vec<u8>> {
        let primaries = match self.primaries {
            1 | 2 => CicpColorPrimaries::Bt709,
            4 => CicpColorPrimaries::Bt470M,
            5 => CicpColorPrimaries::Bt470Bg,
            6 | 7 => CicpColorPrimaries::Bt601,
            9 => CicpColorPrimaries::Bt2020,
            11 => CicpColorPrimaries::Smpte431,
            12 => CicpColorPrimaries::Smpte432,
            _ => return None,
        };
        let transfer = match self.transfer {
            4 => TransferCharacteristics::Bt470M,
            5 => TransferCharacteristics::Bt470Bg,
            8 => TransferCharacteristics::Linear,
            _ => TransferCharacteristics::Srgb,
        };
        // Nearly every photo on the web has these. BT.601's primaries do not differ visibly.
        let is_srgb = matches!(self.primaries, 1 | 2 | 6 | 7);
        if is_srgb && transfer == TransferCharacteristics::Srgb {
            return None;
        }
        let profile = ColorProfile::new_from_cicp(CicpProfile {
            color_primaries: primaries,
            transfer_characteristics: transfer,
            matrix_coefficients: MatrixCoefficients::Identity,
            full_range: true,
        });
        profile.encode().ok()
    }
}

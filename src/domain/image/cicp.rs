//! Code points of ISO/IEC 23091-2: how samples stand for colours, without a profile.

use moxcms::{
    CicpColorPrimaries, CicpProfile, ColorProfile, MatrixCoefficients, TransferCharacteristics,
};

/// What a file or a stream says of its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nclx {
    pub(super) primaries: u16,
    pub(super) transfer: u16,
    pub(super) matrix: u16,
    pub(super) full_range: bool,
}

impl Nclx {
    /// A colour profile of the same meaning; `None` when that is sRGB or as good as it.
    ///
    /// The curves of video (BT.709, BT.2020) are shown as sRGB's, as screens and browsers do. So
    /// are those of high dynamic range (PQ, HLG): flat, but never black as a literal reading is.
    pub(super) fn profile(self) -> Option<Vec<u8>> {
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
        // As they are in nearly every photo of the web: BT.601's differ by less than one sees.
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

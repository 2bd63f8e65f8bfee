//! Why something is not done, as the sentence of a page.

use app::services::ServiceError;
use engine::SubmitError;
use protocol::{Language, ParameterError, Sentence};

use crate::store::StoreError;

/// What a page makes of a refusal of the engine.
pub(super) fn refused_by_engine(error: &SubmitError, text: Option<usize>) -> ServiceError {
    match error {
        SubmitError::Busy { queued } => ServiceError::Busy { waiting: *queued as u32 },
        error => {
            let (en, zh) = (error.sentence(Language::En), error.sentence(Language::Zh));
            match text {
                Some(number) => {
                    ServiceError::invalid(format!("Text {number}: {en}"), format!("第 {number} 段文本：{zh}"))
                }
                None => ServiceError::invalid(en, zh),
            }
        }
    }
}

/// What a page makes of a parameter that cannot be used.
pub fn refused_parameter(error: &ParameterError) -> ServiceError {
    ServiceError::invalid(error.sentence(Language::En), error.sentence(Language::Zh))
}

/// What a page makes of a refusal of the store.
pub fn refused_by_store(error: StoreError) -> ServiceError {
    match error {
        StoreError::Missing(what) => {
            let zh = match what {
                "session" => "会话",
                "text" => "文本",
                "link" => "链接",
                "extraction" => "抽取",
                "schema" => "抽取清单",
                "batch" => "批处理",
                "file" => "文件",
                "row" => "行",
                "job" => "任务",
                _ => "运行",
            };
            ServiceError::NotFound(Sentence::new(
                format!("There is no such {what}: it was deleted or closed, or never was yours."),
                format!("没有这个{zh}：它已被删除或关闭，或不属于您。"),
            ))
        }
        error => {
            tracing::error!(%error, "the store failed");
            ServiceError::Internal(Sentence::new(
                format!(
                    "It could not be saved or read ({error}). Check that the disk of the data folder has room, then try again."
                ),
                format!("无法保存或读取（{error}）。请确认数据目录所在磁盘有剩余空间，然后再试。"),
            ))
        }
    }
}

/// A fault of ours, for the log and for the page.
pub(super) fn internal(what: &str, error: &dyn std::fmt::Display) -> ServiceError {
    tracing::error!(%error, "{what}");
    ServiceError::Internal(Sentence::new(
        format!("On the server's side {what}; its log says why. Try again."),
        "服务器内部出错，原因见服务器日志。请再试一次。",
    ))
}

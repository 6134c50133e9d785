//! S3's operations on [`Objects`]: what `s3s` has parsed and authenticated goes in, what it serialises comes out.
//!
//! Invariants:
//! 1. Preconditions mean what S3 documents: a create that meets an object, or an update that meets another `ETag`,
//!    answers 412; an update that meets no object answers 404.
//! 2. An operation that is not written here answers 501, never a made-up success.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::TryStreamExt;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, CommonPrefix,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput,
    CopyObjectResult, CopyPartResult, CopySource, CreateBucketInput, CreateBucketOutput,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteBucketInput, DeleteBucketOutput,
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag,
    ETagCondition, Error as DeleteError, GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput,
    GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput,
    ListBucketsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput,
    Range as AskedRange, StreamingBlob, Timestamp, UploadPartCopyInput, UploadPartCopyOutput,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use crate::medium::Header;
use crate::objects::{Condition, Conditions, Described, Objects, Refused};

/// How long a store that looks first leaves between look and write: long enough for a race to fall between.
const LOOK_BEFORE: Duration = Duration::from_millis(2);

/// Keys on one page of a list, unless fewer are asked for.
const PAGE_KEYS: i32 = 1000;

/// The operations.
#[derive(Clone)]
pub(crate) struct Operations {
    objects: Arc<Objects>,
    page_keys: i32,
}

impl Operations {
    pub(crate) fn new(objects: Arc<Objects>, page_keys: Option<u16>) -> Self {
        Self { objects, page_keys: page_keys.map_or(PAGE_KEYS, i32::from).clamp(1, PAGE_KEYS) }
    }

    /// Runs `work` where it may wait for a disk.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Objects) -> S3Result<T> + Send + 'static,
    ) -> S3Result<T> {
        if !self.objects.blocks() {
            return work(&self.objects);
        }
        let objects = Arc::clone(&self.objects);
        match tokio::task::spawn_blocking(move || work(&objects)).await {
            Ok(done) => done,
            Err(stopped) => Err(s3_error!(stopped, InternalError)),
        }
    }

    /// The condition that the configured honesty leaves of a write's own, having looked where it is to look first.
    async fn honest(&self, bucket: &str, key: &str, asked: Condition) -> S3Result<Condition> {
        match self.objects.conditions() {
            Conditions::Honoured => Ok(asked),
            Conditions::Ignored => Ok(Condition::Always),
            Conditions::CreatesOnly if asked == Condition::Absent => Ok(asked),
            Conditions::CreatesOnly => Ok(Condition::Always),
            Conditions::CheckedThenPut => {
                self.objects.check(bucket, key, &asked)?;
                tokio::time::sleep(LOOK_BEFORE).await;
                Ok(Condition::Always)
            }
        }
    }
}

impl From<Refused> for S3Error {
    fn from(refused: Refused) -> Self {
        let mut error = match refused {
            Refused::NoSuchBucket => s3_error!(NoSuchBucket),
            Refused::BucketExists => s3_error!(BucketAlreadyOwnedByYou),
            Refused::BucketNotEmpty => s3_error!(BucketNotEmpty),
            Refused::NoSuchKey => s3_error!(NoSuchKey),
            Refused::NoSuchUpload => s3_error!(NoSuchUpload),
            Refused::InvalidPart => s3_error!(InvalidPart),
            Refused::PartTooSmall => s3_error!(EntityTooSmall),
            Refused::Precondition => s3_error!(PreconditionFailed),
            Refused::ReadOnly => s3_error!(AccessDenied),
            Refused::Medium(_) => s3_error!(InternalError),
        };
        error.set_message(refused.to_string());
        error
    }
}

fn condition(if_none_match: Option<ETagCondition>, if_match: Option<ETagCondition>) -> S3Result<Condition> {
    match (if_none_match, if_match) {
        (None, None) => Ok(Condition::Always),
        (Some(ETagCondition::Any), None) => Ok(Condition::Absent),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Exists),
        (None, Some(ETagCondition::ETag(etag))) => Ok(Condition::Matches(etag.into_value())),
        _ => Err(s3_error!(NotImplemented, "writes take If-None-Match: * or If-Match, not both, no list")),
    }
}

/// Whether a reader wants the object that is there.
fn wanted(
    header: &Header,
    if_match: Option<&ETagCondition>,
    if_none: Option<&ETagCondition>,
) -> S3Result<()> {
    let found = ETag::Strong(header.etag.clone());
    let matches = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.weak_cmp(&found),
    };
    if if_match.is_some_and(|condition| !matches(condition)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if if_none.is_some_and(matches) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

async fn whole(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    let chunks: Vec<Bytes> = body.try_collect().await.map_err(|_| s3_error!(IncompleteBody))?;
    Ok(match <[Bytes; 1]>::try_from(chunks) {
        Ok([only]) => only,
        Err(chunks) => chunks.concat().into(),
    })
}

fn described(content_type: Option<String>, metadata: Option<HashMap<String, String>>) -> Described {
    let mut metadata: Vec<_> = metadata.unwrap_or_default().into_iter().collect();
    metadata.sort();
    Described { content_type, metadata }
}

fn etag(header: &Header) -> ETag {
    ETag::Strong(header.etag.clone())
}

fn timestamp(header: &Header) -> Timestamp {
    (UNIX_EPOCH + Duration::from_millis(header.modified_ms)).into()
}

fn size(header: &Header) -> i64 {
    i64::try_from(header.size).unwrap_or(i64::MAX)
}

fn metadata(header: &Header) -> Option<HashMap<String, String>> {
    (!header.metadata.is_empty()).then(|| header.metadata.iter().cloned().collect())
}

fn range_of(header: &Header, asked: Option<&AskedRange>) -> S3Result<Range<u64>> {
    asked.map_or(Ok(0..header.size), |asked| Ok(asked.check(header.size)?))
}

#[async_trait::async_trait]
impl S3 for Operations {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let asked = condition(input.if_none_match, input.if_match)?;
        let body = whole(input.body).await?;
        let condition = self.honest(&input.bucket, &input.key, asked).await?;
        let described = described(input.content_type, input.metadata);
        let (bucket, key) = (input.bucket, input.key);
        let header =
            self.run(move |objects| Ok(objects.put(&bucket, &key, body, described, &condition)?)).await?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(etag(&header)), ..Default::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let asked = input.range;
        let (header, range, bytes) = self
            .run(move |objects| {
                objects.read(&input.bucket, &input.key, |header| -> S3Result<_> {
                    wanted(header, input.if_match.as_ref(), input.if_none_match.as_ref())?;
                    range_of(header, input.range.as_ref())
                })
            })
            .await?;
        let content_range =
            asked.map(|_| format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), header.size));
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(bytes.len()).ok(),
            body: Some(StreamingBlob::from(s3s::Body::from(bytes))),
            content_range,
            content_type: header.content_type.clone(),
            e_tag: Some(etag(&header)),
            last_modified: Some(timestamp(&header)),
            metadata: metadata(&header),
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let header = self.objects.get(&input.bucket, &input.key)?.header;
        wanted(&header, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(size(&header)),
            content_type: header.content_type.clone(),
            e_tag: Some(etag(&header)),
            last_modified: Some(timestamp(&header)),
            metadata: metadata(&header),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        let asked = condition(None, input.if_match)?;
        let condition = self.honest(&input.bucket, &input.key, asked).await?;
        self.run(move |objects| Ok(objects.delete(&input.bucket, &input.key, &condition)?)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        self.objects.bucket(&input.bucket, true)?;
        let (bucket, asked) = (input.bucket, input.delete.objects);
        let quiet = input.delete.quiet.unwrap_or(false);
        let outcomes = self
            .run(move |objects| {
                let delete = |key: String| (objects.delete(&bucket, &key, &Condition::Always), key);
                Ok(asked.into_iter().map(|object| delete(object.key)).collect::<Vec<_>>())
            })
            .await?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for (outcome, key) in outcomes {
            match outcome {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject { key: Some(key), ..Default::default() }),
                Err(refused) => errors.push(DeleteError {
                    key: Some(key),
                    code: Some("InternalError".to_owned()),
                    message: Some(refused.to_string()),
                    ..Default::default()
                }),
            }
        }
        let output =
            DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = request.input;
        let CopySource::Bucket { bucket: from, key: source, .. } = input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        let header = self
            .run(move |objects| {
                let (header, _, bytes) =
                    objects.read(&from, &source, |header| Ok::<_, S3Error>(0..header.size))?;
                let described = Described {
                    content_type: header.content_type.clone(),
                    metadata: header.metadata.clone(),
                };
                Ok(objects.put(&input.bucket, &input.key, bytes, described, &Condition::Always)?)
            })
            .await?;
        let copied = CopyObjectResult {
            e_tag: Some(etag(&header)),
            last_modified: Some(timestamp(&header)),
            ..Default::default()
        };
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(copied), ..Default::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let max_keys = input.max_keys.unwrap_or(self.page_keys).clamp(0, self.page_keys);
        let after = input.continuation_token.as_ref().or(input.start_after.as_ref());
        let page = self.objects.list(
            &input.bucket,
            input.prefix.as_deref().unwrap_or_default(),
            input.delimiter.as_deref(),
            after.map(String::as_str).unwrap_or_default(),
            usize::try_from(max_keys).unwrap_or(0),
        )?;
        let contents: Vec<Object> = page.objects.iter().map(|header| listed(header)).collect();
        let common_prefixes: Vec<CommonPrefix> =
            page.common_prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: i32::try_from(contents.len() + common_prefixes.len()).ok(),
            max_keys: Some(max_keys),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            continuation_token: input.continuation_token,
            start_after: input.start_after,
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let described = described(input.content_type, input.metadata);
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let upload_id = self.run(move |objects| Ok(objects.create_upload(&bucket, &key, described)?)).await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload_id),
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let body = whole(input.body).await?;
        let (bucket, id, number) = (input.bucket, input.upload_id, input.part_number);
        let etag = self.run(move |objects| Ok(objects.upload_part(&bucket, &id, number, body)?)).await?;
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() }))
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = request.input;
        let CopySource::Bucket { bucket: from, key: source, .. } = input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        let range = input.copy_source_range.as_deref().map(AskedRange::parse).transpose();
        let range = range.map_err(|_| s3_error!(InvalidArgument, "x-amz-copy-source-range"))?;
        let etag = self
            .run(move |objects| {
                let (_, _, bytes) =
                    objects.read(&from, &source, |header| range_of(header, range.as_ref()))?;
                Ok(objects.upload_part(&input.bucket, &input.upload_id, input.part_number, bytes)?)
            })
            .await?;
        let copied = CopyPartResult { e_tag: Some(ETag::Strong(etag)), ..Default::default() };
        Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(copied), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let asked = condition(input.if_none_match, input.if_match)?;
        let condition = self.honest(&input.bucket, &input.key, asked).await?;
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let named: Vec<_> = parts
            .into_iter()
            .map(|part| (part.part_number.unwrap_or_default(), part.e_tag.map(ETag::into_value)))
            .collect();
        let (bucket, id) = (input.bucket.clone(), input.upload_id);
        let header =
            self.run(move |objects| Ok(objects.complete_upload(&bucket, &id, &named, &condition)?)).await?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&header)),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        self.run(move |objects| Ok(objects.abort_upload(&input.bucket, &input.upload_id)?)).await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.run(move |objects| Ok(objects.create_bucket(&request.input.bucket)?)).await?;
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.run(move |objects| Ok(objects.delete_bucket(&request.input.bucket)?)).await?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.objects.bucket(&request.input.bucket, false)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.objects.bucket(&request.input.bucket, false)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_buckets(
        &self,
        _request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let named = |name| Bucket { name: Some(name), ..Default::default() };
        let buckets = self.objects.bucket_names().into_iter().map(named).collect();
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets), ..Default::default() }))
    }
}

fn listed(header: &Header) -> Object {
    Object {
        key: Some(header.key.clone()),
        e_tag: Some(etag(header)),
        size: Some(size(header)),
        last_modified: Some(timestamp(header)),
        ..Default::default()
    }
}
